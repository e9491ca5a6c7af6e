-- What every script about a room begins with. KEYS: 1 where the room stands (a hash), 2 its log (a stream whose ids are
-- offset-0), 3 which ids are where (a hash), 4 entries that are not in the stream any more (a hash by offset; see
-- redact.lua), all of one slot. ARGV: 1 the epoch that those of new rooms are made from, or
-- nothing.
--
-- A process that was started anew, or was a replica until now, may lack the end of what was acknowledged, or whole rooms.
-- Whether it does cannot be known; so the room goes on in a new epoch, and the lineage keeps up to where former ones are
-- good. Its replication id tells one such life from every other: it is new at each start and at each promotion.

local OVERHEAD = 200
local LINEAGE_MAX = 64
local PIECE = 500
local REDACTED, REDACTION = '1', '2' -- kinds of entries beside messages
local life = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')

local function whole(number)
  return string.format('%.0f', number)
end

local function entry_id(offset)
  return whole(offset) .. '-0'
end

-- No pair of sender and id can be taken for another one.
local function id_field(sender, id)
  return #sender .. ':' .. sender .. id
end

-- The same for every caller, also of a room that is not there yet.
local function in_this_life(epoch)
  return string.sub(redis.sha1hex(epoch .. life), 1, 8)
end

local function go_on(room)
  local lineage = {}
  for epoch, offset in string.gmatch(room.lineage, '([^:,]+):(-?%d+)') do
    lineage[#lineage + 1] = epoch .. ':' .. whole(math.min(tonumber(offset), room.head))
  end
  lineage[#lineage + 1] = room.epoch .. ':' .. whole(room.head)
  while #lineage > LINEAGE_MAX do
    table.remove(lineage, 1)
  end
  room.epoch, room.lineage = in_this_life(room.epoch), table.concat(lineage, ',')
  -- It must be written before a caller is told it, or the next life would not know of this one. A script that has
  -- deleted something may write when the memory is full; when replicas are missing, reading waits for them.
  redis.call('HDEL', KEYS[1], '')
  redis.call(
    'HSET', KEYS[1], 'epoch', room.epoch, 'lineage', room.lineage, 'life', life, 'origin', room.origin)
end

local function standing()
  local found = redis.call(
    'HMGET', KEYS[1], 'epoch', 'first', 'head', 'bytes', 'life', 'lineage', 'origin', 'at', 'ahead-since', 'ahead-to',
    'moved')
  if not found[1] then
    if ARGV[1] == '' then
      return false
    end
    local epoch = in_this_life(ARGV[1])
    return {epoch = epoch, origin = epoch, first = 1, head = 0, bytes = 0, at = 0, lineage = '', moved = 0, new = true}
  end
  local room = {
    epoch = found[1],
    first = tonumber(found[2]),
    head = tonumber(found[3]),
    bytes = tonumber(found[4]),
    lineage = found[6] or '',
    origin = found[7] or found[1],
    at = tonumber(found[8] or '0'),
    ahead_since = tonumber(found[9] or ''),
    ahead_to = tonumber(found[10] or ''),
    moved = tonumber(found[11] or '0'),
  }
  if found[5] ~= life then
    go_on(room)
  end
  return room
end

local function save(room)
  redis.call(
    'HSET', KEYS[1], 'first', whole(room.first), 'head', whole(room.head), 'bytes', whole(room.bytes),
    'at', whole(room.at))
end

-- An entry's fields are id, sender, at and data, in this order; behind them, if they are not what one would expect, the
-- epoch in which it was written (e), its trace (p), its kind (k), and when it was stored (t). Servers of before there
-- were traces take the last field but e for the time, so a trace and a kind always have a time behind them: they may use
-- the same log meanwhile.
local function values(entry)
  local fields = entry[2]
  local epoch, stored, trace, kind = '', fields[6], nil, ''
  for n = 9, #fields, 2 do
    if fields[n] == 'e' then
      epoch = fields[n + 1]
    elseif fields[n] == 'p' then
      trace = fields[n + 1]
    elseif fields[n] == 'k' then
      kind = fields[n + 1]
    else
      stored = fields[n + 1]
    end
  end
  return fields[2], fields[4], fields[6], fields[8], epoch, tonumber(stored), trace, kind
end

local function offset_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

-- The entries from an offset on, *count* at most.
local function entries_from(room, from, count)
  local found = redis.call('XRANGE', KEYS[2], entry_id(from), '+', 'COUNT', count)
  if room.moved == 0 then
    return found
  end
  local entries, n = {}, 1
  for offset = from, math.min(from + count - 1, room.head) do
    if found[n] and offset_of(found[n]) == offset then
      entries[#entries + 1], n = found[n], n + 1
    else
      local moved = redis.call('HGET', KEYS[4], whole(offset))
      if moved then
        entries[#entries + 1] = {entry_id(offset), cmsgpack.unpack(moved)}
      end
    end
  end
  return entries
end

-- Forget the earliest messages, a few thousand at most. *going* is told the entries that come next, and says how many of
-- them go.
local function cut(room, going)
  local ids, cuts, all, moved = {}, 0, true, room.moved
  while all and cuts < 4 * PIECE and room.first <= room.head do
    local entries = entries_from(room, room.first, PIECE)
    if #entries == 0 then
      room.first = room.head + 1
    end
    local go = going(entries)
    all = go == #entries
    for n = 1, go do
      local id, sender, _, data = values(entries[n])
      if id ~= '' then
        ids[#ids + 1] = id_field(sender, id)
      end
      room.bytes = room.bytes - #data - OVERHEAD
      room.first = offset_of(entries[n]) + 1
      if room.moved > 0 then
        room.moved = room.moved - redis.call('HDEL', KEYS[4], whole(room.first - 1))
      end
      cuts = cuts + 1
    end
    if #ids > 0 then
      redis.call('HDEL', KEYS[3], unpack(ids))
      ids = {}
    end
  end
  if cuts > 0 then
    redis.call('XTRIM', KEYS[2], 'MINID', entry_id(room.first))
    save(room)
    if moved ~= room.moved then
      redis.call('HSET', KEYS[1], 'moved', whole(room.moved))
    end
  end
  return cuts
end

-- How many of the next entries go, of a room that holds too many.
local function too_many(room, messages_max, bytes_max)
  return function(entries)
    local go, bytes = 0, room.bytes
    while go < #entries and (room.head - room.first - go + 1 > messages_max or bytes > bytes_max) do
      go = go + 1
      local _, _, _, data = values(entries[go])
      bytes = bytes - #data - OVERHEAD
    end
    return go
  end
end
