-- serve.lua: publish a server and what it runs now; both are gone after the TTL unless published again.
--   flags allow-oom: with memory full, a server that lives must not count as gone
--   KEYS  1 server   2 its running tasks
--   ARGV  1 TTL (s)   2 server record   then per running task: id, record
--   ->    1
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[1])
redis.call('DEL', KEYS[2])
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1
