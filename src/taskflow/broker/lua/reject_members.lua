-- reject_members.lua: take members off a closed set that cannot be aggregated: archive them, drop those without a hash.
--   include leased, unlock
--   flags allow-oom
--   KEYS  1 set   2 aggregation sets   3 archived
--   ARGV  1 task key prefix   2 tokens   3 now (Unix s)   4 channel prefix
--         then per member: id, message to archive ('' = it has no hash), lock key
--   ->    how many were taken off; -1 if the set is not the caller's
if not leased(KEYS[2], KEYS[1], ARGV[2]) then
  return -1
end
local taken = 0
for i = 5, #ARGV, 3 do
  local id, key = ARGV[i], ARGV[1] .. ARGV[i]
  if redis.call('ZREM', KEYS[1], id) == 1 then
    taken = taken + 1
    if ARGV[i + 1] ~= '' then
      redis.call('HSET', key, 'msg', ARGV[i + 1], 'state', 'archived')
      redis.call('ZADD', KEYS[3], ARGV[3], id)
      unlock(ARGV[i + 2], id)
      redis.call('PUBLISH', ARGV[4] .. id, 'archived')
    end
  end
end
return taken
