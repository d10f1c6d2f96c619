-- extend.lua: extend the leases that are still the caller's.
--   include leased
--   flags allow-oom
--   KEYS  1 lease
--   ARGV  1 new expiry (Unix s)   then per task: id, tokens
--   ->    per task: 1 extended, 0 refused
local results = {}
for i = 2, #ARGV, 2 do
  local mine = ARGV[i + 1] ~= '-' and leased(KEYS[1], ARGV[i], ARGV[i + 1])
  results[#results + 1] = mine and 1 or 0
  if mine then
    redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[i])
  end
end
return results
