-- run.lua: make tasks pending, at the back of their queue. What would keep one from running again is gone with its former
--   life: the marks of a cancellation, of workers that died with it, and its result.
--   include detach, standing
--   flags allow-oom: it takes no more than it frees
--   KEYS  1 pending
--   ARGV  1 key prefix of the queue   2 key of the exact due times   3 states to act on, a space around each
--         4 now (Unix ns)   then per task: id
--   ->    per task: the state it was in, false if there is no such task; only one in a named state was touched
check_kinds(ARGV[1], ARGV[2])
local results, ids = {}, {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local key = ARGV[1] .. 't:' .. id
  -- pcall: another kind of value under the key is no task
  local task = redis.pcall('HMGET', key, 'state', 'group')
  results[#results + 1] = task[1] or false
  if standing(task, ARGV[3]) then
    detach(ARGV[1], ARGV[2], id, task[1], task[2])
    redis.call('HSET', key, 'state', 'pending', 'pending_since', ARGV[4])
    redis.call('HDEL', key, 'cancelled', 'stop', 'deaths', 'owner', 'started_at', 'result')
    ids[#ids + 1] = id
  end
end
if #ids > 0 then
  redis.call('LPUSH', KEYS[1], unpack(ids))
end
return results
