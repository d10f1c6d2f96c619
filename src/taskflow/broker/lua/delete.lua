-- delete.lua: delete tasks that are not running; their locks are freed.
--   include detach, locked, standing, unlist, unlock
--   flags allow-oom: it frees memory
--   KEYS  1 pending
--   ARGV  1 key prefix of the queue   2 key of the exact due times   3 states to act on, a space around each
--         4 list or set that the ids were read from ('' = none): those without a hash leave it   then per task: id
--   ->    per task: the state it was in, false if there is no such task; only one in a named state was touched
check_kinds(ARGV[1], ARGV[2])
local results, listed = {}, {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local key = ARGV[1] .. 't:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'group', 'unique_key')
  results[#results + 1] = task[1] or false
  if standing(task, ARGV[3]) then
    detach(ARGV[1], ARGV[2], id, task[1], task[2], listed)
    unlock(locked(ARGV[1], id, task[1], task[3]), id)
    redis.call('DEL', key)
  elseif not task[1] and ARGV[4] == KEYS[1] then
    listed[#listed + 1] = id
  elseif not task[1] and ARGV[4] ~= '' then
    redis.call('ZREM', ARGV[4], id)
  end
end
unlist(KEYS[1], listed)
return results
