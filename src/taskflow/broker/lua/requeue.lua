-- requeue.lua: put active tasks back to the front of pending: at shutdown, or because their worker is gone.
--   include leased, release
--   flags allow-oom
--   KEYS  1 active   2 lease   3 pending
--   ARGV  1 task key prefix   2 now (Unix ns)   then per task: id, tokens, '1' if its worker died
--   ->    per task: 1 moved, 0 refused, 2 left active because it was cancelled meanwhile: archive it
local results, ids = {}, {}
for i = 3, #ARGV, 3 do
  local id = ARGV[i]
  local key = ARGV[1] .. id
  local result = 0
  if leased(KEYS[2], id, ARGV[i + 1]) then
    result = redis.call('HEXISTS', key, 'stop') == 1 and 2 or 1
  end
  results[#results + 1] = result
  if result == 1 then
    ids[#ids + 1] = id
    redis.call('HSET', key, 'state', 'pending', 'pending_since', ARGV[2])
    redis.call('HDEL', key, 'owner', 'started_at')
    if ARGV[i + 2] == '1' then
      redis.call('HINCRBY', key, 'deaths', 1)
    end
  end
end
if #ids > 0 then
  release(KEYS[1], KEYS[2], ids)
  redis.call('RPUSH', KEYS[3], unpack(ids))
end
return results
