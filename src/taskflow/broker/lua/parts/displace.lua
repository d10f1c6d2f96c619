-- displace(queue, due, lock, id, channel): remove the holder of a lock if it waits, so that another may take its place.
--   Returns nil once it is removed; else the state that keeps it, '' if the lock is that of a task that is gone.
local waits = { pending = true, scheduled = true, retry = true, aggregating = true }
local function displace(queue, due, lock, id, channel)
  local key = queue .. 't:' .. id
  local task = redis.pcall('HMGET', key, 'state', 'group', 'unique_key')
  local state = task[1] or ''
  if task[3] and task[3] ~= lock then
    return '' -- an older task of this id has left the lock behind
  elseif not waits[state] or not pcall(detach, queue, due, id, state, task[2]) then
    return state -- pcall: somebody put another kind of value under the key of its list or set
  end
  redis.call('DEL', key)
  redis.call('PUBLISH', channel .. id, 'replaced')
  return nil
end
