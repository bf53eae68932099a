-- since: the position before the first entry of a time or later; binary search, as ids carry no time.
--
-- KEYS   1 head (hash)   2 log (stream)
-- ARGV   1 time in ms
-- reply  {seq, mark} of the last entry before that time; {head seq, head mark} when nothing came since;
--        {"0", ""} when the log's whole history lies after it; false when the log no longer reaches back so far
local head = redis.call('HMGET', KEYS[1], 'seq', 'mark', 'origin')
local time = tonumber(ARGV[1])
local function at(seq)
  return redis.call('XRANGE', KEYS[2], seq .. '-0', seq .. '-0')[1]
end
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if not head[1] or not first then return {head[1] or '0', head[2] or ''} end
local low, high = tonumber(string.match(first[1], '^%d+')), tonumber(head[1])
if tonumber(first[2][4]) >= time then
  if low == 1 then return {'0', ''} end
  return false
end
while low < high do
  local middle = math.ceil((low + high) / 2)
  local entry = at(middle)
  if entry and tonumber(entry[2][4]) < time then low = middle else high = middle - 1 end
end
return {tostring(low), at(low)[2][2]}
