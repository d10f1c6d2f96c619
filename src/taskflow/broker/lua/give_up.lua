-- give_up.lua: archive tasks that are not running, as they are; their locks are freed.
--   include detach, locked, standing, tell, unlist, unlock
--   flags allow-oom: with memory full, queues can still be cleared
--   KEYS  1 pending   2 archived   3 outbox
--   ARGV  1 key prefix of the queue   2 key of the exact due times   3 states to act on, a space around each
--         4 now (Unix s)   5 channel prefix   then per task: id
--   ->    per task: the state it was in, false if there is no such task; only one in a named state was touched
check_kinds(ARGV[1], ARGV[2])
local results, listed = {}, {}
for i = 6, #ARGV do
  local id = ARGV[i]
  local key = ARGV[1] .. 't:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'group', 'unique_key', 'stop', 'msg')
  results[#results + 1] = task[1] or false
  if standing(task, ARGV[3]) then
    detach(ARGV[1], ARGV[2], id, task[1], task[2], listed)
    unlock(locked(ARGV[1], id, task[1], task[3]), id)
    redis.call('HSET', key, 'state', 'archived')
    if task[4] then
      redis.call('HSET', key, 'cancelled', task[4])
    end
    redis.call('HDEL', key, 'pending_since', 'stop')
    redis.call('ZADD', KEYS[2], ARGV[4], id)
    if task[1] ~= 'completed' then
      tell(KEYS[3], key, task[5], task[4] and 'cancelled' or 'failed')
    end
    redis.call('PUBLISH', ARGV[5] .. id, 'archived')
  end
end
unlist(KEYS[1], listed)
return results
