-- check_kinds(queue, due): fail, with nothing written, if one of the queue's own keys holds another kind of value.
local function check_kinds(queue, due)
  redis.call('LLEN', queue .. 'pending')
  redis.call('SCARD', queue .. 'groups')
  redis.call('ZCARD', due)
  for _, name in ipairs({ 'scheduled', 'retry', 'archived', 'completed', 'aggregation_sets' }) do
    redis.call('ZCARD', queue .. name)
  end
end

-- leave_group(queue, id, group): take a task off its group, or off the closed set that it is in.
local function leave_group(queue, id, group)
  if redis.pcall('ZREM', queue .. 'g:' .. group, id) ~= 1 then
    for _, set in ipairs(redis.call('ZRANGE', queue .. 'aggregation_sets', 0, -1)) do
      redis.pcall('ZREM', set, id)
    end
  end
  if redis.call('EXISTS', queue .. 'g:' .. group) == 0 then
    redis.call('SREM', queue .. 'groups', group)
  end
end

-- detach(queue, due, id, state, group, listed): take a task that is not active off the list or set of its state.
--   With `listed`, one that is pending is only noted there: `unlist` takes many off at once.
local function detach(queue, due, id, state, group, listed)
  if state == 'pending' and listed then
    listed[#listed + 1] = id
  elseif state == 'pending' then
    redis.call('LREM', queue .. 'pending', 0, id)
  elseif state == 'aggregating' then
    leave_group(queue, id, group or '')
  else
    redis.call('ZREM', queue .. state, id)
  end
  redis.call('ZREM', due, id)
end
