-- tell(outbox, key, message, ending): note the end of a task that nobody ran, if its message names a callback URL.
--   The note is as notice.py describes it. Its id is the webhook's, a new one for each end of the task.
local function tell(outbox, key, message, ending)
  if type(message) ~= 'string' or not string.find(message, 'taskflow:callback_url', 1, true) then
    return
  end
  local time = redis.call('TIME')
  local now = string.format('%d%06d000', time[1], time[2])
  local id = redis.sha1hex(key .. ':' .. now)
  redis.pcall('HSET', outbox, id, ending .. ' ' .. now .. ' ' .. #message .. ' -\n' .. message)
end
