-- known(queue, due, id, most): everything known of a task; false if there is none, or if its key holds another kind of value.
--   With `most`, of a longer payload and a longer result only so many bytes.
--   It is: message, state, time of its state (Unix s: when it falls due, or was archived), lease expiry (Unix s), result,
--   pending_since (ns), started_at (ns), owner, attempts (JSON lines), cancelled.
local function score(key, id)
  local found = redis.pcall('ZSCORE', key, id)
  return type(found) == 'string' and found
end

-- Of a message in protobuf's encoding: the number at a place, and the place behind it.
local function number_at(data, at)
  local value, factor = 0, 1
  repeat
    local byte = data:byte(at) or 0
    value = value + byte % 128 * factor
    factor = factor * 128
    at = at + 1
  until byte < 128
  return value, at
end

local function as_number(value)
  local bytes = ''
  while value >= 128 do
    bytes = bytes .. string.char(value % 128 + 128)
    value = math.floor(value / 128)
  end
  return bytes .. string.char(value)
end

-- The message with the beginning of its payload (field 2, behind the type, field 1); another one stays as it is.
local function shortened(message, most)
  local at, length = 1
  if message:byte(1) == 0x0a then
    length, at = number_at(message, 2)
    at = at + length
  end
  if message:byte(at) ~= 0x12 then
    return message
  end
  local begin
  length, begin = number_at(message, at + 1)
  if length <= most then
    return message
  end
  return message:sub(1, at) .. as_number(most) .. message:sub(begin, begin + most - 1) .. message:sub(begin + length)
end

local function known(queue, due, id, most)
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
  local message, result = task[1], task[3]
  if most and #message > most then
    message = shortened(message, most)
  end
  if most and result then
    result = result:sub(1, most)
  end
  return { message, state, moment, lease, result, task[4], task[5], task[6], task[7], task[8] or task[9] }
end
