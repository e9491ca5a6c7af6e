-- Retention by age. KEYS: 5 the read marks (a hash), 6 when they moved (a sorted set). ARGV: 2 the oldest time that
-- stays, 3 the time now, 4 how far ahead of it a stamp may be, 5 the time from which on an empty room stays,
-- 6 messages_max, 7 bytes_max (which are another room's after the settings have changed). Returns the
-- first offset if that has changed (else 0), the time of what is oldest now, or nothing, and whether the room holds no
-- message and may be forgotten.
local oldest, now, slack = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first, room = 0, standing()

local function stored_of(entry)
  local _, _, _, _, _, stored = values(entry)
  return stored
end

local function expired(entries)
  -- What stands before an old message was stored before it, whatever its own stamp says.
  for n = #entries, 1, -1 do
    if stored_of(entries[n]) < oldest then
      return n
    end
  end
  if #entries == 0 or stored_of(entries[1]) <= now + slack then
    return 0
  end
  -- They are of the future. When they were stored is not known; but they were there when this was noticed.
  if not room.ahead_since or room.ahead_to < room.first or room.ahead_since > now then
    room.ahead_since, room.ahead_to = now, room.head
    redis.call('HSET', KEYS[1], 'ahead-since', whole(now), 'ahead-to', whole(room.head))
  end
  local go = 0
  while
    room.ahead_since < oldest
    and go < #entries
    and stored_of(entries[go + 1]) > now + slack
    and offset_of(entries[go + 1]) <= room.ahead_to
  do
    go = go + 1
  end
  return go
end

local messages_max, bytes_max = tonumber(ARGV[6]), tonumber(ARGV[7])
if room and (room.head - room.first + 1 > messages_max * 1.01 or room.bytes > bytes_max * 1.01) then
  local before = room.first
  cut(room, too_many(room, messages_max, bytes_max))
  first = room.first ~= before and room.first or 0
end
if room and cut(room, expired) > 0 then
  first = room.first
end
local marks = redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', '(' .. ARGV[2], 'LIMIT', 0, PIECE)
if #marks > 0 then
  redis.call('HDEL', KEYS[5], unpack(marks))
  redis.call('ZREM', KEYS[6], unpack(marks))
end
local rest = redis.call('ZRANGE', KEYS[6], 0, 0, 'WITHSCORES')
local time = rest[2] and tonumber(rest[2])
local entry = room and entries_from(room, room.first, 1)[1]
if entry then
  time = math.min(time or now, stored_of(entry), now)
end
local empty = room and room.first > room.head and (room.at < tonumber(ARGV[5]) or room.at > now + slack)
return {first, time and whole(time) or '', empty and 1 or 0}
