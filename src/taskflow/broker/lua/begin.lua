-- begin.lua: a suspect that was taken, and held back, is begun now: from here on a death counts.
--   include leased
--   flags allow-oom: with memory full, tasks must still come to their end
--   KEYS  1 lease   2 task
--   ARGV  1 id   2 tokens   3 now (Unix ns)
--   ->    1 begun, 0 refused, 2 begun, but it is to be stopped
if not leased(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], 'started_at', ARGV[3])
return redis.call('HEXISTS', KEYS[2], 'stop') == 1 and 2 or 1
