-- probe: would a publish be taken now, and does the channel carry? And what an operator wants to know of the log.
-- What the store refuses a publish (OOM, READONLY, MISCONF, NOREPLICAS) it refuses this write as well. One write a
-- period really changes something, so that a disk that takes no more shows itself; the others are checked in the same
-- way, but change nothing and cost no fsync, however many processes probe.
--
-- KEYS   1 head (hash)   2 log (stream)   3 probe (string: when the last write of a probe was, ms)
-- ARGV   1 channel   2 PUBLISH | SPUBLISH   3 message   4 ms between two probes that really write
-- reply  {refusal or "", events in the log, their bytes, how many of them were ever trimmed early}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local last = tonumber(redis.call('GET', KEYS[3]) or 0) or 0
local answer
if last <= now and now - last < tonumber(ARGV[4]) then
  answer = redis.pcall('SET', KEYS[3], now, 'NX')
else
  answer = redis.pcall('SET', KEYS[3], now)
end
local refusal = type(answer) == 'table' and answer.err or ''
local head = redis.call('HMGET', KEYS[1], 'bytes', 'early')
redis.call(ARGV[2], ARGV[1], ARGV[3])
return {refusal, redis.call('XLEN', KEYS[2]), tonumber(head[1] or 0), tonumber(head[2] or 0)}
