-- forget_types.lua: delete entries of the catalog, unless a worker has shown up with them since they were read.
--   KEYS  1 types (HASH)
--   ARGV  1 field of an entry   2 field that changes when it is seen (maybe the same)   3 what that one held when it was read   and so on
--   ->    how many were deleted
local deleted = 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i + 1]) == ARGV[i + 2] then
    redis.call('HDEL', KEYS[1], ARGV[i], ARGV[i + 1])
    deleted = deleted + 1
  end
end
return deleted
