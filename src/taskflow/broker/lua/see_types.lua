-- see_types.lua: say that versions of types are served now; a version that is not in the catalog is left to be published.
--   flags allow-oom: with memory full, a worker must be able to start
--   KEYS  1 types (HASH)
--   ARGV  1 now (Unix s)   then the id of each version
--   ->    one number per version: 1 seen, 0 it is not in the catalog
local seen = {}
for i = 2, #ARGV do
  seen[i - 1] = redis.call('HEXISTS', KEYS[1], '@' .. ARGV[i])
  if seen[i - 1] == 1 then
    redis.call('HSET', KEYS[1], '@' .. ARGV[i] .. ':seen', ARGV[1])
  end
end
return seen
