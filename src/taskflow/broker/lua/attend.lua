-- attend.lua: say that a server takes orders, and return the one that it was given.
--   flags allow-oom: with memory full, a server must be told to stop all the more
--   KEYS  1 orders of the server
--   ARGV  1 for how long it takes them (s)
--   ->    the order, '' for none
local order = redis.call('GET', KEYS[1]) or ''
redis.call('SET', KEYS[1], order, 'EX', ARGV[1])
return order
