-- detach(queue, due, id, state, group): take a task that is not active off the list or set of its state.
local function detach(queue, due, id, state, group)
  if state == 'pending' then
    redis.call('LREM', queue .. 'pending', 0, id)
  elseif state == 'aggregating' then
    redis.call('ZREM', queue .. 'g:' .. group, id)
    for _, set in ipairs(redis.call('ZRANGE', queue .. 'aggregation_sets', 0, -1)) do
      redis.call('ZREM', set, id)
    end
    if redis.call('EXISTS', queue .. 'g:' .. group) == 0 then
      redis.call('SREM', queue .. 'groups', group)
    end
  else
    redis.call('ZREM', queue .. state, id)
  end
  redis.call('ZREM', due, id)
end
