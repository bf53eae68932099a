-- page: a page of current items, newest first, and the log's head at which they are true, in one look.
--
-- KEYS   1 head (hash)   2 items (hash: id -> item)   3.. indexes (sorted sets, all scores 0); their union is read
-- ARGV   1 sort key to read below, "" from the newest   2 most items   3 characters of a sort key before its id
-- reply  {head seq, head mark, {sort key...}, {item...}}
--        head seq "" where there is no head yet: read.lua makes one
local head = redis.call('HMGET', KEYS[1], 'seq', 'mark')
if not head[1] then return {'', '', {}, {}} end
local from, count = ARGV[1] == '' and '+' or '(' .. ARGV[1], tonumber(ARGV[2])
local keys, seen = {}, {}
for i = 3, #KEYS do
  for _, key in ipairs(redis.call('ZRANGE', KEYS[i], from, '-', 'BYLEX', 'REV', 'LIMIT', 0, count)) do
    if not seen[key] then seen[key] = true; keys[#keys + 1] = key end
  end
end
table.sort(keys, function(a, b) return a > b end)
local page, items = {}, {}
for i = 1, math.min(count, #keys) do
  page[i] = keys[i]
  items[i] = redis.call('HGET', KEYS[2], string.sub(keys[i], tonumber(ARGV[3]) + 1))
end
return {head[1], head[2], page, items}
