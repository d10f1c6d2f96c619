-- reclaim_sets.lua: put the members of abandoned sets back into their groups; name groups again that have members.
--   asynq, when it does the first, forgets the second: such a group would wait until somebody adds to it.
--   include reopen
--   flags allow-oom
--   KEYS  1 groups   2 aggregation sets
--   ARGV  1 group key prefix   2 now (Unix s)   3 most members   4 most sets to list   then groups that had a set when last seen
--   ->    how many members are back, and the groups of the sets that there are
local left, most = tonumber(ARGV[3]), tonumber(ARGV[3])
redis.call('SCARD', KEYS[1])
for _, set in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'LIMIT', 0, most)) do
  if left > 0 then
    left = left - reopen(KEYS[1], KEYS[2], ARGV[1], set, left)
  end
end
for i = 5, #ARGV do
  local size = redis.pcall('ZCARD', ARGV[1] .. ARGV[i])
  if type(size) == 'number' and size > 0 then
    redis.call('SADD', KEYS[1], ARGV[i])
  end
end
local groups, seen = {}, {}
for _, set in ipairs(redis.call('ZRANGE', KEYS[2], 0, tonumber(ARGV[4]) - 1)) do
  local name = group_of(ARGV[1], set)
  if name and not seen[name] then
    seen[name] = true
    groups[#groups + 1] = name
  end
end
return { most - left, groups }
