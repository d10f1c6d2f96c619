-- clean.lua: delete what is past its time or past the most to keep, oldest first; their locks are freed.
--   include unlock
--   KEYS  1 completed or archived
--   ARGV  1 task key prefix   2 cutoff (Unix s)   3 how many to keep at most (0 = any number)   4 most per call
--   ->    how many were deleted
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[4])
local keep = tonumber(ARGV[3])
if #ids == 0 and keep > 0 then
  local excess = math.min(redis.call('ZCARD', KEYS[1]) - keep, tonumber(ARGV[4]))
  if excess > 0 then
    ids = redis.call('ZRANGE', KEYS[1], 0, excess - 1)
  end
end
for _, id in ipairs(ids) do
  local key = ARGV[1] .. id
  unlock(redis.pcall('HMGET', key, 'unique_key')[1], id)
  redis.call('DEL', key)
end
if #ids > 0 then
  redis.call('ZREM', KEYS[1], unpack(ids))
end
return #ids
