-- Change a record, if it has the value that is expected. KEYS: 1 the records of its kind (a hash), 2 those of its guard.
-- ARGV: 1 its key, 2 the value that it must have, 3 the value that it gets (each behind a "+"; nothing for no record),
-- 4 for how many ms it is kept, or 0; then, if it has a guard, 5 the guard's key and 6 its value.
-- Returns 1 if it was changed.
local function is(hash, key, value)
  local found = redis.call('HGET', hash, key)
  return (found and '+' .. found or '') == value
end
if not is(KEYS[1], ARGV[1], ARGV[2]) or (ARGV[5] and not is(KEYS[2], ARGV[5], '+' .. ARGV[6])) then
  return 0
end
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.sub(ARGV[3], 2))
end
if ARGV[4] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
