-- read.lua: everything known of tasks.
--   KEYS  1 lease
--   ARGV  1 key prefix of the queue   2 key of the exact due times   then per task: id
--   ->    per task: false, or message, state, due (Unix s), lease expiry (Unix s), result, pending_since (ns),
--         started_at (ns), owner, attempts (JSON lines), cancelled
local tasks = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local task = redis.pcall('HMGET', ARGV[1] .. 't:' .. id, 'msg', 'state', 'result', 'pending_since', 'started_at', 'owner', 'attempts', 'cancelled', 'stop')
  local state = task[2]
  if task[1] and state then
    local due = false
    if state == 'scheduled' or state == 'retry' then
      due = redis.call('ZSCORE', ARGV[2], id) or redis.call('ZSCORE', ARGV[1] .. state, id)
    end
    tasks[#tasks + 1] = { task[1], state, due, redis.call('ZSCORE', KEYS[1], id), task[3], task[4], task[5], task[6], task[7], task[8] or task[9] }
  else
    tasks[#tasks + 1] = false
  end
end
return tasks
