-- locked(queue, id, state, unique_key): the unique lock that a task may hold, by its hash; nil if there is none.
--   asynq does not write the lock of a task in a group into the hash. Its message names it, in field 10 (see asynq.proto).
local function varint(data, at)
  local value, weight = 0, 1
  for i = at, at + 9 do
    local byte = string.byte(data, i)
    if not byte then
      return nil
    end
    value = value + byte % 128 * weight
    if byte < 128 then
      return value, i + 1
    end
    weight = weight * 128
  end
end

-- text_field(data, wanted): the text of a field of a protobuf message; nil if it is not there, or this is no message.
local function text_field(data, wanted)
  local tag, at = varint(data, 1)
  while tag do
    local kind, size = tag % 8, 0
    if kind == 0 then
      at = select(2, varint(data, at))
    elseif kind == 2 then
      size, at = varint(data, at)
    end
    if not at or (kind ~= 0 and kind ~= 2) then
      return nil
    elseif tag == wanted * 8 + 2 then
      return string.sub(data, at, at + size - 1)
    end
    tag, at = varint(data, at + size)
  end
end

local function locked(queue, id, state, unique_key)
  if unique_key or state ~= 'aggregating' then
    return unique_key
  end
  local message = redis.pcall('HGET', queue .. 't:' .. id, 'msg')
  local key = type(message) == 'string' and text_field(message, 10)
  -- A message is a stranger's text: no key but one of the queue's locks is touched.
  return key and string.sub(key, 1, #queue + 7) == queue .. 'unique:' and key or nil
end
