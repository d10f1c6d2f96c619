-- hold(key, id, lock, terms): let a stored task hold its unique lock. The terms are its TTL (s), or `TTL:until:on conflict`.
--   A lock until `expired` is nobody's to free, so its task does not know it; one until `started` is freed at dequeue.
local function hold(key, id, lock, terms)
  local ttl, ending = string.match(terms, '^(%d+):?(%a*)')
  redis.call('SET', lock, id, 'EX', ttl)
  if ending == 'started' then
    redis.call('HSET', key, 'unique_key', lock, 'lock_until', ending)
  elseif ending ~= 'expired' then
    redis.call('HSET', key, 'unique_key', lock)
  end
end
