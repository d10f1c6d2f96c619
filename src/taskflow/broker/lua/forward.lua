-- forward.lua: make due tasks pending (or members of their group); cancelled ones are archived, ids without a hash dropped.
--   include unlock
--   flags allow-oom: with memory full, retries must still come to their end
--   KEYS  1 scheduled   2 retry   3 pending   4 groups   5 archived   6 due   7 outbox
--   ARGV  1 task key prefix   2 group key prefix   3 now (Unix s, exact)   4 now (Unix ns)   5 most per set
--   ->    how many ids were taken off their sets, and when the next falls due (Unix s, '' = nothing waits)
local taken = 0

local function move(set, id)
  local key = ARGV[1] .. id
  local fields = redis.pcall('HMGET', key, 'msg', 'group', 'stop', 'unique_key')
  redis.call('ZREM', set, id)
  redis.call('ZREM', KEYS[6], id)
  taken = taken + 1
  if not fields[1] then
    return
  end
  local group = fields[2]
  if fields[3] then
    unlock(fields[4], id)
    redis.call('HSET', key, 'state', 'archived', 'cancelled', fields[3])
    redis.call('HDEL', key, 'stop')
    redis.call('ZADD', KEYS[5], math.floor(ARGV[3]), id)
    -- include tell
    tell(KEYS[7], key, fields[1], 'cancelled')
  elseif group and group ~= '' then
    redis.call('HSET', key, 'state', 'aggregating')
    redis.call('ZADD', ARGV[2] .. group, math.floor(ARGV[3]), id)
    redis.call('SADD', KEYS[4], group)
  else
    redis.call('HSET', key, 'state', 'pending', 'pending_since', ARGV[4])
    redis.call('LPUSH', KEYS[3], id)
  end
end

-- Scores in asynq's sets are whole seconds, rounded up; `due` has the exact time of those that fall due within a second.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', ARGV[3], 'LIMIT', 0, ARGV[5])) do
  local second = math.ceil(tonumber(redis.call('ZSCORE', KEYS[6], id)))
  if tonumber(redis.call('ZSCORE', KEYS[1], id) or -1) == second then
    move(KEYS[1], id)
  elseif tonumber(redis.call('ZSCORE', KEYS[2], id) or -1) == second then
    move(KEYS[2], id)
  else
    taken = taken + 1
    redis.call('ZREM', KEYS[6], id)
  end
end
for set = 1, 2 do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[set], '-inf', ARGV[3], 'LIMIT', 0, ARGV[5])) do
    move(KEYS[set], id)
  end
end

local next_due = ''
for _, set in ipairs({ KEYS[1], KEYS[2], KEYS[6] }) do
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if first[2] and (next_due == '' or tonumber(first[2]) < tonumber(next_due)) then
    next_due = first[2]
  end
end
return { taken, next_due }
