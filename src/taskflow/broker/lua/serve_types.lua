-- serve_types.lua: say which versions of types a server serves; it is gone after the TTL unless said again.
--   flags allow-oom: with memory full, a worker must be able to start
--   KEYS  1 served types of the server
--   ARGV  1 TTL (s)   then the id of each version
--   ->    1
redis.call('SET', KEYS[1], table.concat(ARGV, ' ', 2), 'EX', ARGV[1])
return 1
