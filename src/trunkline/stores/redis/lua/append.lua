-- Append, one step for everything: ids are looked up, offsets given, entries added, retention by size applied, and those
-- who follow the room told. ARGV: 2 messages_max, 3 bytes_max, 4 the channel of the room, 5 who appends,
-- 6 whether replicas will be waited for, 7 how many drafts have a trace; then for each of those which one it is (1 is the
-- first) and the trace; then for each draft its id (or nothing), sender, at and data.
-- Returns the epoch, the first offset if that has changed (else 0), whether there was nothing before, and for each
-- draft its offset, its at, and 1 if it was there already.
local messages_max, bytes_max = tonumber(ARGV[2]), tonumber(ARGV[3])
local room = standing()
if not room then
  return false
end
if room.new then
  redis.call('HSET', KEYS[1], 'epoch', room.epoch, 'life', life, 'origin', room.origin)
end
local before, first = room.head, room.first
local answer = {room.epoch, 0, room.first > room.head and 1 or 0}
local repeated = false
local traces, drafts_at = {}, 8 + 2 * tonumber(ARGV[7])
for at = 8, drafts_at - 1, 2 do
  traces[tonumber(ARGV[at])] = ARGV[at + 1]
end
for at = drafts_at, #ARGV, 4 do
  local id, sender, time, data = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local known = id ~= '' and redis.call('HGET', KEYS[3], id_field(sender, id))
  if known then
    local offset, known_at = string.match(known, '^(%d+):(%d+)$')
    answer[#answer + 1] = tonumber(offset)
    answer[#answer + 1] = tonumber(known_at)
    answer[#answer + 1] = 1
    repeated = true
  else
    room.head = room.head + 1
    room.bytes = room.bytes + #data + OVERHEAD
    local entry = {'i', id, 's', sender, 'a', time, 'd', data}
    if id == '' and room.epoch ~= room.origin then
      entry[#entry + 1], entry[#entry + 2] = 'e', room.epoch
    end
    local trace, late = traces[(at - drafts_at) / 4 + 1], tonumber(time) < room.at
    if trace then
      entry[#entry + 1], entry[#entry + 2] = 'p', trace
    end
    if late or trace then -- behind a trace it always stands: see `values`
      entry[#entry + 1], entry[#entry + 2] = 't', time
    end
    if late then -- stamps never go backwards
      time = whole(room.at)
      entry[6] = time
    end
    room.at = tonumber(time)
    redis.call('XADD', KEYS[2], entry_id(room.head), unpack(entry))
    if id ~= '' then
      redis.call('HSET', KEYS[3], id_field(sender, id), whole(room.head) .. ':' .. time)
    end
    answer[#answer + 1] = room.head
    answer[#answer + 1] = tonumber(time)
    answer[#answer + 1] = 0
  end
end
if room.head > before then
  save(room)
  redis.call('PERSIST', KEYS[1]) -- it may have been about to be forgotten
  -- A little late on purpose, so that most appends have nothing to cut.
  if
    room.head - room.first + 1 - messages_max > math.min(1000, math.floor(messages_max / 100))
    or room.bytes - bytes_max > math.min(1048576, math.floor(bytes_max / 100))
  then
    cut(room, too_many(room, messages_max, bytes_max))
  end
  redis.call('PUBLISH', ARGV[4], 'h' .. ARGV[5] .. ' ' .. whole(room.head))
end
if repeated and ARGV[6] == '1' then
  redis.call('HSET', KEYS[1], 'repeated', '1') -- WAIT waits for what was written: of repeats only, that is nothing
end
if room.first ~= first then
  answer[2] = room.first
end
return answer
