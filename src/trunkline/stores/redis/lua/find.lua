-- Where a message of this id is. ARGV: 2 its sender, 3 its id. Returns the epoch, its offset and its time; nothing if it
-- is not retained.
local room = standing()
if not room then
  return false
end
local found = redis.call('HGET', KEYS[3], id_field(ARGV[2], ARGV[3]))
if not found then
  return {room.epoch, 0, 0}
end
local offset, at = string.match(found, '^(%d+):(%d+)$')
return {room.epoch, tonumber(offset), tonumber(at)}
