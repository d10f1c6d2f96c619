-- drain_groups.lua: delete tasks of removed groups and closed sets, with the locks they hold.
--   include unlock, erase
--   flags allow-oom: it frees memory
--   KEYS  1 removed groups   2 removed aggregation sets   3 groups
--   ARGV  1 task key prefix   2 group key prefix   3 most tasks and groups
--   ->    1 if there is more to do, else 0; and how many tasks there were
local left, count = tonumber(ARGV[3]), 0

-- Whether nothing is left in a group or set. A key of another kind is somebody else's.
local function emptied(key)
  local popped, ids = redis.pcall('ZPOPMIN', key, left), {}
  for i = 1, #popped, 2 do
    ids[#ids + 1] = popped[i]
  end
  count = count + erase(ARGV[1], ids)
  left = left - #ids - 1
  return popped.err or redis.call('EXISTS', key) == 0
end

local function first_set()
  return redis.pcall('ZRANGE', KEYS[2], 0, 0)[1]
end

local set = first_set()
while set and left > 0 do
  if string.sub(set, 1, #ARGV[2]) ~= ARGV[2] or emptied(set) then
    redis.call('ZREM', KEYS[2], set)
  end
  set = first_set()
end
local names = left > 0 and redis.pcall('SRANDMEMBER', KEYS[1], left) or {}
for _, name in ipairs(names) do
  if left > 0 and emptied(ARGV[2] .. name) then
    redis.call('SREM', KEYS[1], name)
    redis.call('SREM', KEYS[3], name)
  end
end
if left > 0 and #names == 0 then
  redis.call('UNLINK', KEYS[1], KEYS[2])
  return { 0, count }
end
return { 1, count }
