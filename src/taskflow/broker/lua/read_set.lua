-- read_set.lua: some members of a closed set, by rank, oldest first.
--   include leased
--   KEYS  1 set   2 aggregation sets
--   ARGV  1 task key prefix   2 tokens   3 rank of the first   4 rank of the last
--   ->    false if the set is not the caller's; else per member: id, message (false: it has no hash), lock key ('' = none)
if not leased(KEYS[2], KEYS[1], ARGV[2]) then
  return false
end
local members = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[4])) do
  local task = redis.pcall('HMGET', ARGV[1] .. id, 'msg', 'unique_key')
  members[#members + 1] = id
  members[#members + 1] = task[1] or false
  members[#members + 1] = task[2] or ''
end
return members
