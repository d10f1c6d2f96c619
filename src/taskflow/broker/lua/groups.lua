-- groups.lua: the groups of a queue with their sizes.
--   KEYS  1 groups
--   ARGV  1 group key prefix
--   ->    per group: name, how many members
local found = {}
for _, name in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local size = redis.pcall('ZCARD', ARGV[1] .. name)
  found[#found + 1] = name
  found[#found + 1] = type(size) == 'number' and size or 0
end
return found
