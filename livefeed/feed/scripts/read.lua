-- read: the log's head and the entries after a position, in one look.
--
-- KEYS   1 head (hash)   2 log (stream)   3 withdrawn (hash: id -> 1)
-- ARGV   1 seq to read after   2 its mark, "" to trust it   3 most entries, 0 for the head only   4 mark of a new log
-- reply  {head seq, head mark, verdict, {{seq, mark, time in ms, item id, withdrawn 0|1, body}...},
--         position at which this log started, oldest seq that is still there or 0}
--        verdict "ok"; "expired": entries after the position are gone; "diverged": another history had that position;
--        "ahead": this history has not got so far. Entries come with "ok" only.
-- writes only where there is no head: a new log, or what a loss left of one, starts with the given mark
local head = redis.call('HMGET', KEYS[1], 'seq', 'mark', 'origin')
if not head[1] then
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  local seq = last and string.match(last[1], '^%d+') or '0'
  redis.call('HSET', KEYS[1], 'seq', seq, 'mark', ARGV[4], 'bytes', 0, 'origin', seq .. '-' .. ARGV[4])
  head = {seq, ARGV[4], seq .. '-' .. ARGV[4]}
end
local after, mark, seq = tonumber(ARGV[1]), ARGV[2], tonumber(head[1])
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local first_seq = first and tonumber(string.match(first[1], '^%d+')) or 0
local verdict = 'ok'
if after > seq then
  verdict = 'ahead'
elseif after == seq then
  if mark ~= '' and mark ~= head[2] then verdict = 'diverged' end
else
  local entry = redis.call('XRANGE', KEYS[2], after .. '-0', after .. '-0')[1]
  if entry then
    if mark ~= '' and mark ~= entry[2][2] then verdict = 'diverged' end
  else
    if first_seq ~= after + 1 then
      verdict = 'expired'
    elseif mark ~= '' and head[3] ~= after .. '-' .. mark then
      -- The entry itself is trimmed; only a log's own start can be known without it.
      verdict = after == 0 and 'diverged' or 'expired'
    end
  end
end
local entries = {}
if verdict == 'ok' and tonumber(ARGV[3]) > 0 and after < seq then
  for i, entry in ipairs(redis.call('XRANGE', KEYS[2], (after + 1) .. '-0', '+', 'COUNT', ARGV[3])) do
    local f = entry[2]
    entries[i] = {string.match(entry[1], '^%d+'), f[2], f[4], f[6], redis.call('HEXISTS', KEYS[3], f[6]), f[8]}
  end
end
return {tostring(seq), head[2], verdict, entries, head[3] or '', first_seq}
