-- Copy entries of another log. ARGV: 2 the first offset of the room, if it is to be made, else nothing; 3 its epoch and
-- 4 its lineage and 5 its newest stamp; or, from 5 on, for each entry its offset, id, sender, at, data, epoch (or nothing), trace (or nothing) and kind.
local room = standing()
if ARGV[2] ~= '' then
  redis.call(
    'HSET', KEYS[1], 'epoch', ARGV[3], 'origin', ARGV[3], 'life', life, 'lineage', ARGV[4], 'first', ARGV[2], 'head',
    whole(tonumber(ARGV[2]) - 1), 'bytes', '0', 'at', ARGV[5])
  return 1
end
for at = 5, #ARGV, 8 do
  local offset, id, sender, time, data = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local entry = {'i', id, 's', sender, 'a', time, 'd', data}
  if ARGV[at + 5] ~= '' then
    entry[#entry + 1], entry[#entry + 2] = 'e', ARGV[at + 5]
  end
  if ARGV[at + 6] ~= '' then
    entry[#entry + 1], entry[#entry + 2] = 'p', ARGV[at + 6]
  end
  if ARGV[at + 7] ~= '' then
    entry[#entry + 1], entry[#entry + 2] = 'k', ARGV[at + 7]
  end
  entry[#entry + 1], entry[#entry + 2] = 't', time
  redis.call('XADD', KEYS[2], entry_id(offset), unpack(entry))
  if id ~= '' then
    redis.call('HSET', KEYS[3], id_field(sender, id), whole(offset) .. ':' .. time)
  end
  room.head, room.at = offset, tonumber(time)
  room.bytes = room.bytes + #data + OVERHEAD
end
save(room)
return 1
