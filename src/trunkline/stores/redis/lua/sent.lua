-- The messages of a sender. ARGV: 2 the sender, 3 after which offset. Looks at some thousand entries, and returns up to
-- which offset, the head, and the offsets of those that are the sender's.
local room = standing()
if not room then
  return false
end
local to, offsets = math.max(tonumber(ARGV[3]), room.first - 1), {}
for _ = 1, 4 do
  local entries = entries_from(room, to + 1, PIECE)
  for _, entry in ipairs(entries) do
    local _, sender = values(entry)
    to = offset_of(entry)
    if sender == ARGV[2] then
      offsets[#offsets + 1] = to
    end
  end
  if #entries == 0 then
    to = room.head
  end
end
return {to, room.head, unpack(offsets)}
