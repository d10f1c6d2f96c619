-- complete.lua: tasks that succeeded and are kept for their retention.
--   include leased, release, count, unlock
--   flags allow-oom
--   KEYS  1 active   2 lease   3 completed   4 processed today   5 processed   6 outbox
--   ARGV  1 task key prefix   2 expiry of the daily counter (Unix s)   3 channel prefix
--         4 '1' = each task has a notice
--         then per task: id, tokens, lock key, message, kept until (Unix s), result, '1' if there is a result;
--         id of a notice and its text
--   ->    per task: 1 completed, 0 refused
local results, ids, expiries = {}, {}, {}
local told = ARGV[4] == '1'
for i = 5, #ARGV, told and 9 or 7 do
  local id = ARGV[i]
  local mine = leased(KEYS[2], id, ARGV[i + 1])
  results[#results + 1] = mine and 1 or 0
  if mine then
    ids[#ids + 1] = id
    expiries[#expiries + 1] = ARGV[i + 4]
    expiries[#expiries + 1] = id
    if ARGV[i + 6] == '1' then
      redis.call('HSET', ARGV[1] .. id, 'msg', ARGV[i + 3], 'state', 'completed', 'result', ARGV[i + 5])
    else
      redis.call('HSET', ARGV[1] .. id, 'msg', ARGV[i + 3], 'state', 'completed')
    end
    redis.call('HDEL', ARGV[1] .. id, 'stop')
    unlock(ARGV[i + 2], id)
    if told then
      redis.pcall('HSET', KEYS[6], ARGV[i + 7], ARGV[i + 8])
    end
  end
end
if #ids > 0 then
  release(KEYS[1], KEYS[2], ids)
  redis.call('ZADD', KEYS[3], unpack(expiries))
  count(KEYS[4], KEYS[5], #ids, ARGV[2])
  for _, id in ipairs(ids) do
    redis.call('PUBLISH', ARGV[3] .. id, 'completed')
  end
end
return results
