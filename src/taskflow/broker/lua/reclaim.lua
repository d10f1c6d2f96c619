-- reclaim.lua: put back what a fetch leased whose reply never arrived; no retry is counted.
--   include release
--   flags allow-oom
--   KEYS  1 active   2 lease   3 pending
--   ARGV  1 task key prefix   2 now (Unix ns)   3 owner: the server and the number of the fetch
--   ->    how many tasks were put back
local ids = {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if redis.pcall('HGET', ARGV[1] .. id, 'owner') == ARGV[3] then
    ids[#ids + 1] = id
  end
end
for _, id in ipairs(ids) do
  redis.call('HSET', ARGV[1] .. id, 'state', 'pending', 'pending_since', ARGV[2])
  redis.call('HDEL', ARGV[1] .. id, 'owner', 'started_at')
end
if #ids > 0 then
  release(KEYS[1], KEYS[2], ids)
  redis.call('RPUSH', KEYS[3], unpack(ids))
end
return #ids
