-- order.lua: tell a server to do something, if it takes orders.
--   flags allow-oom: with memory full, a server must be told to stop all the more
--   KEYS  1 orders of the server
--   ARGV  1 the order
--   ->    1, or 0 if it takes none
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL')
return 1
