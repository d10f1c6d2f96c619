-- stats.lua: the numbers of a queue.
--   KEYS  1 pending   2 active   3 scheduled   4 retry   5 archived   6 completed   7 groups   8 paused
--         9 processed today   10 failed today   11 processed   12 failed
--   ARGV  1 task key prefix   2 group key prefix
--   ->    pending, active, scheduled, retry, archived, completed, aggregating, groups, paused (0 or 1),
--         processed today, failed today, processed, failed (text), pending_since of the oldest pending task (Unix ns, text)
local aggregating = 0
local groups = redis.call('SMEMBERS', KEYS[7])
for _, group in ipairs(groups) do
  aggregating = aggregating + redis.call('ZCARD', ARGV[2] .. group)
end
local oldest = redis.call('LINDEX', KEYS[1], -1)
return {
  redis.call('LLEN', KEYS[1]),
  redis.call('LLEN', KEYS[2]),
  redis.call('ZCARD', KEYS[3]),
  redis.call('ZCARD', KEYS[4]),
  redis.call('ZCARD', KEYS[5]),
  redis.call('ZCARD', KEYS[6]),
  aggregating,
  #groups,
  redis.call('EXISTS', KEYS[8]),
  redis.call('GET', KEYS[9]) or '0',
  redis.call('GET', KEYS[10]) or '0',
  redis.call('GET', KEYS[11]) or '0',
  redis.call('GET', KEYS[12]) or '0',
  oldest and redis.pcall('HMGET', ARGV[1] .. oldest, 'pending_since')[1] or '0',
}
