-- publish_types.lua: write versions of types into the catalog, seen now; one that is there stays as it is.
--   flags allow-oom: with memory full, a worker must be able to start
--   KEYS  1 types (HASH)
--   ARGV  1 now (Unix s)   then per version: id, JSON
--   ->    1
for i = 2, #ARGV, 2 do
  redis.call('HSETNX', KEYS[1], '@' .. ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[1], '@' .. ARGV[i] .. ':seen', ARGV[1])
end
return 1
