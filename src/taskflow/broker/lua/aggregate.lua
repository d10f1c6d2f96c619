-- aggregate.lua: put one task in the place of a closed set: the members, their hashes and their locks are gone.
--   include leased, unlock, detach, displace, hold
--   flags allow-oom: it frees more than it takes
--   KEYS  1 set   2 aggregation sets   3 pending   4 scheduled   5 groups   6 due
--   ARGV  1 key prefix of the queue   2 channel prefix for ends   3 tokens   4 how many members were aggregated   5 now (Unix ns)
--         6 now (Unix s)   7 channel for a nearer due time   8 queue
--         9 id   10 message   11 due (Unix s, '' = now)   12 group ('' = none)   13 lock key ('' = none)
--         14 terms of the lock (see the part `hold`)
--         then per member that may hold a lock: id, lock key (asynq does not write it into the hash of a task in a group)
--   ->    1 stored, 2 it is there with this very message (a repeat), 0 the set is not the caller's,
--         3 another task has the id, 4 members have left the set since it was read, or the id of the task that holds the lock
local id, message, due, group, lock = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local tasks = ARGV[1] .. 't:'
local key = tasks .. id
-- A member's own id and lock are free once it is gone. pcall: a key of another kind counts as taken.
local known = not redis.call('ZSCORE', KEYS[1], id) and redis.pcall('HGET', key, 'msg')
if not leased(KEYS[2], KEYS[1], ARGV[3]) then
  return known == message and 2 or 0
elseif redis.call('ZCARD', KEYS[1]) ~= tonumber(ARGV[4]) then
  return 4
elseif known and known ~= message then
  return 3
end
-- Fails here, with nothing written, if a key of the queue holds another kind of value.
redis.call('LLEN', KEYS[3])
redis.call('ZCARD', KEYS[4])
redis.call('SCARD', KEYS[5])
redis.call('ZCARD', KEYS[6])
if group ~= '' then
  redis.call('ZCARD', ARGV[1] .. 'g:' .. group)
end
local holder = not known and lock ~= '' and redis.pcall('GET', lock)
local ending, choice = string.match(ARGV[14], ':(%a+):(%a+)$')
if type(holder) == 'string' and ((holder == id and ending ~= 'expired') or redis.call('ZSCORE', KEYS[1], holder)) then
  holder = false -- it goes with the members
elseif type(holder) == 'string' and choice == 'replace' and not displace(ARGV[1], KEYS[6], lock, holder, ARGV[2]) then
  holder = false
end
if holder then
  return type(holder) == 'string' and holder or ''
end

for i = 15, #ARGV, 2 do
  unlock(ARGV[i + 1], ARGV[i])
end
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  redis.call('DEL', tasks .. member)
end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], KEYS[1])
if known then
  return 2
end

if due ~= '' then
  local second = math.ceil(tonumber(due))
  redis.call('HSET', key, 'msg', message, 'state', 'scheduled')
  redis.call('ZADD', KEYS[4], second, id)
  if second ~= tonumber(due) then
    redis.call('ZADD', KEYS[6], due, id)
  end
  if group ~= '' then
    redis.call('HSET', key, 'group', group)
  end
  redis.call('PUBLISH', ARGV[7], ARGV[8])
elseif group ~= '' then
  redis.call('HSET', key, 'msg', message, 'state', 'aggregating', 'group', group)
  redis.call('ZADD', ARGV[1] .. 'g:' .. group, ARGV[6], id)
  redis.call('SADD', KEYS[5], group)
else
  redis.call('HSET', key, 'msg', message, 'state', 'pending', 'pending_since', ARGV[5])
  redis.call('LPUSH', KEYS[3], id)
end
if lock ~= '' then
  hold(key, id, lock, ARGV[14])
end
return 1
