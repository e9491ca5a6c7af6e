-- Read. ARGV: 2 after which offset, 3 messages_max, 4 bytes_max. Returns the epoch, the first offset, and the entries.
local room = standing()
if not room then
  return false
end
local wanted, bytes_max = tonumber(ARGV[3]), tonumber(ARGV[4])
local from = math.max(tonumber(ARGV[2]) + 1, room.first)
local found, size = {}, 0
while #found < wanted and from <= room.head and size <= bytes_max do
  local entries = entries_from(room, from, math.min(64, wanted - #found))
  if #entries == 0 then
    break
  end
  for _, entry in ipairs(entries) do
    local id, sender, at, data, epoch, _, trace, kind = values(entry)
    size = size + #data + OVERHEAD
    if size > bytes_max and #found > 0 then
      break
    end
    from = offset_of(entry) + 1
    found[#found + 1] = {
      from - 1, id, sender, tonumber(at), data, epoch ~= '' and epoch or room.origin, kind, trace}
  end
end
return {room.epoch, room.first, found}
