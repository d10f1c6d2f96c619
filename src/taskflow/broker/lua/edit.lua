-- edit.lua: change the message or the due time of a scheduled or retry task. Its unique lock stays as it is, but for its end,
--   which moves with a due time that moves away: the lock covers the task until it is due and after.
--   include standing
--   KEYS  1 task   2 scheduled   3 retry   4 due
--   ARGV  1 id   2 message as the caller read it   3 message to write   4 due (Unix s, '' = as it was)
--         5 channel for a nearer due time   6 queue
--   ->    the state it is in (only scheduled and retry were touched), false if there is no such task,
--         'changed' if the message is another by now (read it again)
local task = redis.pcall('HMGET', KEYS[1], 'state', 'msg', 'unique_key')
local state = task[2] and task[1]
if not state or not standing(task, ' scheduled retry ') then
  return state or false
elseif task[2] ~= ARGV[2] then
  return 'changed'
end
local set = state == 'scheduled' and KEYS[2] or KEYS[3]
local before = redis.call('ZSCORE', set, ARGV[1])
before = redis.call('ZSCORE', KEYS[4], ARGV[1]) or before
redis.call('HSET', KEYS[1], 'msg', ARGV[3])
if ARGV[4] == '' then
  return state
end
local due = tonumber(ARGV[4])
redis.call('ZADD', set, math.ceil(due), ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
if math.ceil(due) ~= due then
  redis.call('ZADD', KEYS[4], ARGV[4], ARGV[1])
end
local later = due - tonumber(before or ARGV[4])
if later > 0 and task[3] and redis.pcall('GET', task[3]) == ARGV[1] then
  redis.call('PEXPIRE', task[3], redis.call('PTTL', task[3]) + math.ceil(later * 1000))
end
if redis.call('ZRANGE', set, 0, 0)[1] == ARGV[1] or redis.call('ZRANGE', KEYS[4], 0, 0)[1] == ARGV[1] then
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
return state
