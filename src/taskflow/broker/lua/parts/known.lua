-- known(queue, due, id): everything known of a task; false if there is none, or if its key holds another kind of value.
--   It is: message, state, due (Unix s), lease expiry (Unix s), result, pending_since (ns), started_at (ns), owner,
--   attempts (JSON lines), cancelled.
local function score(key, id)
  local found = redis.pcall('ZSCORE', key, id)
  return type(found) == 'string' and found
end

local function known(queue, due, id)
  local task = redis.pcall('HMGET', queue .. 't:' .. id, 'msg', 'state', 'result', 'pending_since', 'started_at', 'owner', 'attempts', 'cancelled', 'stop')
  local state = task[2]
  if not task[1] or not state then
    return false
  end
  local falls_due = false
  if state == 'scheduled' or state == 'retry' then
    falls_due = score(queue .. state, id)
    local exact = score(due, id)
    -- asynq does not know it: one left from an earlier time of the task counts for nothing.
    if exact and falls_due and math.ceil(tonumber(exact)) == tonumber(falls_due) then
      falls_due = exact
    end
  end
  local lease = score(queue .. 'lease', id)
  return { task[1], state, falls_due, lease, task[3], task[4], task[5], task[6], task[7], task[8] or task[9] }
end
