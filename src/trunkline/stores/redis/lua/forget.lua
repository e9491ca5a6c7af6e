-- Forget a room that holds no message. KEYS: 5 the read marks, 6 when they moved. ARGV: 2 for how many seconds its place
-- is kept: until then, a server that does not know yet that new rooms have another epoch goes on in the old one.
-- Returns 1 if it was forgotten.
local room = standing()
if not room or room.first <= room.head then
  return 0
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]))
return 1
