-- Delete a room. KEYS: 5 the read marks, 6 when they moved. ARGV: 2 the time now, 3 the channel of the room, 4 who does
-- it, 5 the epoch in which the room begins again. Returns the epoch, and how many messages there were (-1: never any).
local room = standing()
if not room then
  return false
end
if room.head == 0 then
  return {room.epoch, -1}
end
local lineage = {}
for epoch in string.gmatch(room.lineage .. ',' .. room.epoch .. ':0', '([^:,]+):') do
  lineage[#lineage + 1] = epoch .. ':-1'
end
while #lineage > LINEAGE_MAX do
  table.remove(lineage, 1)
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call(
  'HSET', KEYS[1], 'epoch', ARGV[5], 'origin', ARGV[5], 'life', life, 'lineage', table.concat(lineage, ','),
  'first', '1', 'head', '0', 'bytes', '0', 'at', ARGV[2])
redis.call('PUBLISH', ARGV[3], 'h' .. ARGV[4] .. ' 0')
return {ARGV[5], room.head - room.first + 1}
