-- cancel.lua: stop tasks for good: a waiting one is archived, a running one is marked and its worker told.
--   include detach, locked, standing, tell, unlist, unlock
--   flags allow-oom: with memory full, tasks can still be stopped
--   KEYS  1 pending   2 archived   3 outbox
--   ARGV  1 key prefix of the queue   2 key of the exact due times   3 states to act on, a space around each   4 now (Unix s)
--         5 prefix of the channels for ends   6 channel for cancellations
--         then per task: id, message as the caller read it, message to archive
--   ->    per task: the state it was in, false if there is no such task; only one in a named state was touched;
--         'changed' if the message is another by now (read it again)
check_kinds(ARGV[1], ARGV[2])
local results, listed = {}, {}
for i = 7, #ARGV, 3 do
  local id = ARGV[i]
  local key = ARGV[1] .. 't:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'group', 'unique_key', 'msg')
  local result = task[4] and task[1] or false
  if result and standing(task, ARGV[3]) then
    if result == 'active' then
      redis.call('HSET', key, 'stop', ARGV[4])
      redis.call('PUBLISH', ARGV[6], id)
    elseif task[4] ~= ARGV[i + 1] then
      result = 'changed'
    else
      detach(ARGV[1], ARGV[2], id, task[1], task[2], listed)
      unlock(locked(ARGV[1], id, task[1], task[3]), id)
      redis.call('HSET', key, 'msg', ARGV[i + 2], 'state', 'archived', 'cancelled', ARGV[4])
      redis.call('HDEL', key, 'pending_since', 'stop')
      redis.call('ZADD', KEYS[2], ARGV[4], id)
      tell(KEYS[3], key, task[4], 'cancelled')
      redis.call('PUBLISH', ARGV[5] .. id, 'archived')
    end
  end
  results[#results + 1] = result
end
unlist(KEYS[1], listed)
return results
