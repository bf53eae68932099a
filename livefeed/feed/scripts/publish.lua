-- publish: one change of one item becomes a version, an event of the log and a message on the channel, or nothing does.
-- Redis does not roll a script back, so everything is checked before the first write.
--
-- KEYS   1 head (hash)        2 log (stream)          3 items (hash: id -> current item)
--        4 versions (hash of this item)               5 receipt of this idempotency key
--        6 guids (hash)       7 withdrawn (hash: id -> 1)
--        8.. indexes (sorted sets, all scores 0): first ARGV[15] that the item leaves, then those it stands in
-- ARGV   1 channel            2 PUBLISH | SPUBLISH    3 mark of a new log
--        4 item id            5 version it is based on, 0 for a new item
--        6 item, the new version                      7 sort key of the item
--        8 facets before, "" for a new item           9 facets after
--       10 event             11 hash of the request  12 seconds that a receipt is kept
--       13 guid or ""        14 "1" when withdrawn    15 number of indexes to leave
--       16 ms and 17 events that the log keeps at least, 18 bytes that it keeps at most
-- reply  {"ok", seq, mark}                  published
--        {"again", receipt}                 the same request came before: its receipt, "id version seq mark"
--        {"reused"}                         the key came before with another request
--        {"stale", version}                 the item is at another version (0: there is none)
--        {"guid", id}                       an item with this guid exists
-- errors those of Redis: OOM, READONLY, MISCONF, NOREPLICAS, WRONGTYPE; none of them after a write
local receipt = redis.call('GET', KEYS[5])
if receipt then
  local space = string.find(receipt, ' ', 1, true)
  if string.sub(receipt, 1, space - 1) ~= ARGV[11] then return {'reused'} end
  redis.call('EXPIRE', KEYS[5], ARGV[12])  -- a write, whose sync to disk covers the one of the receipt
  return {'again', string.sub(receipt, space + 1)}
end
local id, based_on = ARGV[4], tonumber(ARGV[5])
local version = redis.call('HLEN', KEYS[4])
if version ~= based_on then return {'stale', version} end
if based_on == 0 and ARGV[13] ~= '' then
  local known = redis.call('HGET', KEYS[6], ARGV[13])
  if known then return {'guid', known} end
end

local head = redis.call('HMGET', KEYS[1], 'seq', 'mark', 'bytes')
local seq, mark, bytes = tonumber(head[1]), head[2], tonumber(head[3] or 0)
if not seq then  -- no head: a new log, or what a loss left of one; its old mark must not go on
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  seq, mark, bytes = last and tonumber(string.match(last[1], '^%d+')) or 0, ARGV[3], 0
end
local origin = not head[1] and seq .. '-' .. mark
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local body = ARGV[8] .. '\n' .. ARGV[9] .. '\n' .. ARGV[10]
seq, mark, bytes = seq + 1, string.sub(redis.sha1hex(mark .. '\n' .. body), 1, 8), bytes + #body

redis.call('HSET', KEYS[1], 'seq', seq, 'mark', mark, 'bytes', bytes, 'time', now)
if origin then redis.call('HSET', KEYS[1], 'origin', origin) end
redis.call('HSET', KEYS[3], id, ARGV[6])
redis.call('HSET', KEYS[4], version + 1, ARGV[6])
local leaves = 7 + tonumber(ARGV[15])
for i = 8, leaves do redis.call('ZREM', KEYS[i], ARGV[7]) end
for i = leaves + 1, #KEYS do redis.call('ZADD', KEYS[i], 0, ARGV[7]) end
if ARGV[14] == '1' then redis.call('HSET', KEYS[7], id, 1) else redis.call('HDEL', KEYS[7], id) end
if ARGV[13] ~= '' then redis.call('HSET', KEYS[6], ARGV[13], id) end
redis.call('XADD', KEYS[2], seq .. '-0', 'm', mark, 't', now, 'i', id, 'b', body)
redis.call('SET', KEYS[5], table.concat({ARGV[11], id, version + 1, seq, mark}, ' '), 'EX', ARGV[12])

-- Trim: a few of the oldest at a time, so that no publish pays for many and the log still shrinks under load.
local min_ms, min_events, max_bytes = tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local oldest, first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 4), nil
for _, entry in ipairs(oldest) do
  local entry_seq, fields = tonumber(string.match(entry[1], '^%d+')), entry[2]
  local spare = seq - entry_seq >= min_events and tonumber(fields[4]) < now - min_ms
  if not spare and bytes <= max_bytes or entry_seq == seq then break end
  if not spare then redis.call('HINCRBY', KEYS[1], 'early', 1) end
  bytes, first = bytes - #fields[8], entry_seq + 1
end
if first then
  redis.call('XTRIM', KEYS[2], 'MINID', first .. '-0')
  redis.call('HSET', KEYS[1], 'bytes', bytes)
end
redis.call(ARGV[2], ARGV[1], seq .. '-' .. mark .. ' ' .. now .. ' ' .. id .. '\n' .. body)
return {'ok', seq, mark}
