-- stats.lua: the numbers of a queue. A key that holds another kind of value counts as empty: one must not hide all others.
--   KEYS  1 pending   2 active   3 scheduled   4 retry   5 archived   6 completed   7 groups   8 paused
--         9 processed today   10 failed today   11 processed   12 failed
--   ARGV  1 task key prefix   2 group key prefix
--   ->    pending, active, scheduled, retry, archived, completed, aggregating, groups, paused (0 or 1),
--         processed today, failed today, processed, failed (text), pending_since of the oldest pending task (Unix ns, text)
local function size(command, key)
  local found = redis.pcall(command, key)
  return type(found) == 'number' and found or 0
end

local function text(key)
  local found = redis.pcall('GET', key)
  return type(found) == 'string' and found or '0'
end

local aggregating = 0
local groups = redis.pcall('SMEMBERS', KEYS[7])
for _, group in ipairs(groups) do
  aggregating = aggregating + size('ZCARD', ARGV[2] .. group)
end
local oldest = redis.pcall('LINDEX', KEYS[1], -1)
return {
  size('LLEN', KEYS[1]),
  size('LLEN', KEYS[2]),
  size('ZCARD', KEYS[3]),
  size('ZCARD', KEYS[4]),
  size('ZCARD', KEYS[5]),
  size('ZCARD', KEYS[6]),
  aggregating,
  #groups,
  redis.call('EXISTS', KEYS[8]),
  text(KEYS[9]),
  text(KEYS[10]),
  text(KEYS[11]),
  text(KEYS[12]),
  type(oldest) == 'string' and redis.pcall('HMGET', ARGV[1] .. oldest, 'pending_since')[1] or '0',
}
