-- memory.lua: about how many bytes of memory a queue takes: its lists and sets, and its tasks by samples spread over each.
--   KEYS  1 lease   2 outbox
--   ARGV  1 key prefix of the queue   2 key of the exact due times   3 how many tasks of each list or set, and how many groups
--   ->    bytes
local most = tonumber(ARGV[3])

local function usage(key)
  local bytes = redis.pcall('MEMORY', 'USAGE', key)
  return type(bytes) == 'number' and bytes or 0
end

local function at(key, rank, is_list)
  if is_list then
    return redis.pcall('LINDEX', key, rank)
  end
  return redis.pcall('ZRANGE', key, rank, rank)[1]
end

-- The hashes of the tasks of a list or set, and the locks they hold.
local function tasks(key, is_list)
  local size = redis.pcall(is_list and 'LLEN' or 'ZCARD', key)
  if type(size) ~= 'number' or size == 0 then
    return 0
  end
  local count, sum = math.min(size, most), 0
  for i = 0, count - 1 do
    local id = at(key, math.floor(i * size / count), is_list)
    local task = ARGV[1] .. 't:' .. (type(id) == 'string' and id or '')
    local lock = redis.pcall('HMGET', task, 'unique_key')[1]
    sum = sum + usage(task) + (lock and usage(lock) or 0)
  end
  return sum * size / count
end

local total = usage(KEYS[1]) + usage(KEYS[2]) + usage(ARGV[2])
for _, name in ipairs({ 'pending', 'active' }) do
  total = total + usage(ARGV[1] .. name) + tasks(ARGV[1] .. name, true)
end
for _, name in ipairs({ 'scheduled', 'retry', 'archived', 'completed' }) do
  total = total + usage(ARGV[1] .. name) + tasks(ARGV[1] .. name, false)
end

-- Members of groups: what those of some groups take each, times all of them.
local names = redis.pcall('SMEMBERS', ARGV[1] .. 'groups')
local members, sampled, sum = 0, 0, 0
for i, name in ipairs(names) do
  local key = ARGV[1] .. 'g:' .. name
  local size = redis.pcall('ZCARD', key)
  size = type(size) == 'number' and size or 0
  members = members + size
  if i <= most then
    sampled = sampled + size
    sum = sum + usage(key) + tasks(key, false)
  end
end
if sampled > 0 then
  total = total + usage(ARGV[1] .. 'groups') + sum * members / sampled
end
return math.floor(total)
