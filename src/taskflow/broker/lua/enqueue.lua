-- enqueue.lua: store new tasks, each pending, scheduled (a due time wins over a group) or in its group.
--   KEYS  1 pending   2 scheduled   3 groups   4 due
--   ARGV  1 task key prefix   2 group key prefix   3 now (Unix ns)   4 now (Unix s)   5 channel for a nearer due time   6 queue
--         7 TTL of marks (s)   then per task: id, message, due (Unix s, '' = now), group ('' = none), lock key ('' = none),
--         lock TTL (s), key of a mark that lets it be stored once ('' = none)
--   ->    per task: 1 stored, 0 the id exists, 2 it exists with this very message (a repeat), 3 the mark is there,
--         or the id of the task that holds the lock
-- Fails here, with nothing written, if a key of the queue holds another kind of value.
redis.call('LLEN', KEYS[1])
redis.call('ZCARD', KEYS[2])
redis.call('SCARD', KEYS[3])
redis.call('ZCARD', KEYS[4])

local stored, pending = {}, {}
local nearest = false
for i = 8, #ARGV, 7 do
  local id, message, due, group, lock, mark = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 6]
  local key = ARGV[1] .. id
  -- pcall: a key of another kind counts as taken, and the other tasks are stored nevertheless
  local known = redis.pcall('HGET', key, 'msg')
  local holder = lock ~= '' and redis.pcall('GET', lock)
  local result = 1
  if mark ~= '' and redis.call('EXISTS', mark) == 1 then
    result = 3
  elseif known then
    result = known == message and 2 or 0
  elseif holder and holder ~= id then
    result = type(holder) == 'string' and holder or ''
  elseif due ~= '' then
    redis.call('HSET', key, 'msg', message, 'state', 'scheduled')
    local second = math.ceil(tonumber(due))
    redis.call('ZADD', KEYS[2], second, id)
    if second ~= tonumber(due) then
      redis.call('ZADD', KEYS[4], due, id)
    end
    nearest = nearest or redis.call('ZRANGE', KEYS[2], 0, 0)[1] == id or redis.call('ZRANGE', KEYS[4], 0, 0)[1] == id
    if group ~= '' then
      redis.call('HSET', key, 'group', group)
    end
  elseif group ~= '' then
    redis.call('HSET', key, 'msg', message, 'state', 'aggregating', 'group', group)
    redis.call('ZADD', ARGV[2] .. group, ARGV[4], id)
    redis.call('SADD', KEYS[3], group)
  else
    redis.call('HSET', key, 'msg', message, 'state', 'pending', 'pending_since', ARGV[3])
    pending[#pending + 1] = id
  end
  if lock ~= '' and result == 1 then
    redis.call('SET', lock, id, 'EX', ARGV[i + 5])
    redis.call('HSET', key, 'unique_key', lock)
  end
  if mark ~= '' and result == 1 then
    redis.call('SET', mark, id, 'EX', ARGV[7])
  end
  stored[#stored + 1] = result
end
if #pending > 0 then
  redis.call('LPUSH', KEYS[1], unpack(pending))
end
if nearest then
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
return stored
