-- result.lua: write the result of a running task.
--   include leased
--   flags allow-oom: with memory full, tasks must still come to their end
--   KEYS  1 lease   2 task
--   ARGV  1 id   2 tokens   3 result
--   ->    1 written, 0 refused
if not leased(KEYS[1], ARGV[1], ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[2], 'result', ARGV[3])
return 1
