-- known(queue, due, id): everything known of a task; false if there is none, or if its key holds another kind of value.
--   It is: message, state, time of its state (Unix s: when it falls due, or was archived), lease expiry (Unix s), result,
--   pending_since (ns), started_at (ns), owner, attempts (JSON lines), cancelled.
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
  local moment = false
  if state == 'scheduled' or state == 'retry' then
    moment = score(queue .. state, id)
    local exact = score(due, id)
    -- asynq does not know it: one left from an earlier time of the task counts for nothing.
    if exact and moment and math.ceil(tonumber(exact)) == tonumber(moment) then
      moment = exact
    end
  elseif state == 'archived' then
    moment = score(queue .. state, id)
  end
  local lease = score(queue .. 'lease', id)
  return { task[1], state, moment, lease, task[3], task[4], task[5], task[6], task[7], task[8] or task[9] }
end
