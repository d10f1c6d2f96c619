-- tally.lua: add to counters; they are gone when nobody has added to them for the TTL.
--   KEYS  1 counters (HASH)
--   ARGV  1 TTL (s)   then per counter: name, how much
--   ->    1
for i = 2, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
