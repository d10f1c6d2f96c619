-- delete.lua: delete tasks that are not running; their locks are freed.
--   include detach, unlock
--   KEYS  1 lease
--   ARGV  1 key prefix of the queue   2 key of the exact due times   then per task: id
--   ->    per task: 1 deleted, 0 not found, -1 running
local results = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local key = ARGV[1] .. 't:' .. id
  local task = redis.call('HMGET', key, 'state', 'group', 'unique_key')
  if not task[1] then
    results[#results + 1] = 0
  elseif task[1] == 'active' then
    results[#results + 1] = -1
  else
    detach(ARGV[1], ARGV[2], id, task[1], task[2])
    unlock(task[3], id)
    redis.call('DEL', key)
    results[#results + 1] = 1
  end
end
return results
