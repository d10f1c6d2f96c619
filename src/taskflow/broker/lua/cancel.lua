-- cancel.lua: stop a task for good: a waiting one is archived, a running one is marked and its worker told.
--   include detach, unlock
--   KEYS  1 task   2 archived
--   ARGV  1 key prefix of the queue   2 key of the exact due times   3 id   4 now (Unix s)   5 message as the caller read it
--         6 message to archive   7 channel for its end   8 channel for cancellations
--   ->    state before; 'changed' if the message is another by now (read it again), false if there is no such task
local task = redis.call('HMGET', KEYS[1], 'msg', 'state', 'group', 'unique_key')
local state = task[2]
if not task[1] then
  return false
elseif state == 'completed' or state == 'archived' then
  return state
elseif state == 'active' then
  redis.call('HSET', KEYS[1], 'stop', ARGV[4])
  redis.call('PUBLISH', ARGV[8], ARGV[3])
  return state
elseif task[1] ~= ARGV[5] then
  return 'changed'
end
detach(ARGV[1], ARGV[2], ARGV[3], state, task[3])
unlock(task[4], ARGV[3])
redis.call('HSET', KEYS[1], 'msg', ARGV[6], 'state', 'archived', 'cancelled', ARGV[4])
redis.call('HDEL', KEYS[1], 'pending_since', 'stop')
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
redis.call('PUBLISH', ARGV[7], 'archived')
return state
