-- list_schedules.lua: replace the list of periodic tasks that asynq's tools read; it is gone after the TTL unless written again.
--   KEYS  1 list
--   ARGV  1 TTL (s)   then the records
--   ->    1
redis.call('DEL', KEYS[1])
for i = 2, #ARGV do
  redis.call('RPUSH', KEYS[1], ARGV[i])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
