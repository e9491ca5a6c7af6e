-- Retention by age. KEYS: 4 the read cursors (a hash), 5 when they moved (a sorted set). ARGV: 2 the oldest time that
-- stays. Returns the first offset if that has changed (else 0), and the time of what is oldest now, or nothing.
local oldest = tonumber(ARGV[2])
local first, room = 0, standing()
if room and cut(room, function(at) return at < oldest end) > 0 then
  first = room.first
end
local marks = redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', '(' .. ARGV[2], 'LIMIT', 0, PIECE)
if #marks > 0 then
  redis.call('HDEL', KEYS[4], unpack(marks))
  redis.call('ZREM', KEYS[5], unpack(marks))
end
local rest = redis.call('ZRANGE', KEYS[5], 0, 0, 'WITHSCORES')
local time = rest[2] and tonumber(rest[2])
local entry = room and redis.call('XRANGE', KEYS[2], entry_id(room.first), '+', 'COUNT', 1)[1]
if entry then
  local _, _, at = values(entry)
  time = math.min(time or tonumber(at), tonumber(at))
end
return {first, time and whole(time) or ''}
