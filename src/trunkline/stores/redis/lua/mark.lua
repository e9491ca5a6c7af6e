-- Read marks move forward. KEYS: 1 the marks (a hash), 2 when they moved (a sorted set). ARGV: for each its member,
-- offset and time.
for at = 1, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[1], ARGV[at])
  if not known or tonumber(known) < tonumber(ARGV[at + 1]) then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    redis.call('ZADD', KEYS[2], ARGV[at + 2], ARGV[at])
  end
end
return 1
