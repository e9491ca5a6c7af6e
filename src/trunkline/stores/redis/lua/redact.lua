-- Take the data of messages away. ARGV: 2 the time now, 3 the channel of the room, 4 who does it, 5 whether senders, ids
-- and traces go, too, 6 how many entries a node of a stream may hold, then the offsets.
-- Returns the epoch, the offset of the redaction (0 if there was nothing to redact), and the offsets that were.
--
-- Entries of a stream cannot be changed, and one that is deleted stays in memory, and in every dump, until all of its
-- node are deleted. A node holds neighbours. So those of a redacted message move, with it, to a hash (KEYS[4]).
local room = standing()
if not room then
  return false
end
if room.new then
  return {room.epoch, 0}
end
local now, erases, around = ARGV[2], ARGV[5] == '1', tonumber(ARGV[6])

local function move_around(offset)
  local entries = redis.call('XRANGE', KEYS[2], entry_id(math.max(1, offset - around)), entry_id(offset + around))
  for _, entry in ipairs(entries) do
    redis.call('HSET', KEYS[4], whole(offset_of(entry)), cmsgpack.pack(entry[2]))
    redis.call('XDEL', KEYS[2], entry[1])
  end
end

local redacted = {}
for n = 7, #ARGV do
  local offset = tonumber(ARGV[n])
  room.moved = redis.call('HLEN', KEYS[4])
  local entry = offset >= room.first and offset <= room.head and entries_from(room, offset, 1)[1]
  if entry then
    local id, sender, at, data, epoch, stored, _, kind = values(entry)
    if kind == '' or (kind == REDACTED and erases and sender ~= '') then
      move_around(offset)
      if erases then
        if id ~= '' then
          redis.call('HDEL', KEYS[3], id_field(sender, id))
        end
        id, sender = '', ''
      end
      local left = {'i', id, 's', sender, 'a', at, 'd', 'null', 'k', REDACTED, 't', whole(stored)}
      if epoch ~= '' then
        table.insert(left, 9, 'e')
        table.insert(left, 10, epoch)
      end
      redis.call('HSET', KEYS[4], whole(offset), cmsgpack.pack(left))
      room.bytes = room.bytes - #data + #'null'
      redacted[#redacted + 1] = whole(offset)
    end
  end
end
if #redacted == 0 then
  return {room.epoch, 0}
end
room.head = room.head + 1
room.at = math.max(room.at, tonumber(now))
local data = '[[' .. table.concat(redacted, ',') .. '],' .. (erases and 'true' or 'false') .. ']'
room.bytes = room.bytes + #data + OVERHEAD
redis.call(
  'XADD', KEYS[2], entry_id(room.head), 'i', '', 's', '', 'a', whole(room.at), 'd', data, 'e', room.epoch,
  'k', REDACTION, 't', now)
save(room)
redis.call('HSET', KEYS[1], 'moved', whole(redis.call('HLEN', KEYS[4])))
redis.call('PERSIST', KEYS[1])
redis.call('PUBLISH', ARGV[3], 'h' .. ARGV[4] .. ' ' .. whole(room.head))
return {room.epoch, room.head, unpack(redacted)}
