-- publish_types.lua: write what a worker says of the types it serves.
--   flags allow-oom: with memory full, a worker must be able to start
--   KEYS  1 types (HASH)
--   ARGV  1 name of a type   2 JSON   and so on
--   ->    1
for i = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
