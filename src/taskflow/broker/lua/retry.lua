-- retry.lua: tasks that failed and will be tried again; they have not killed their worker, so its predecessors' deaths are forgotten.
--   include leased, release, count, record
--   flags allow-oom
--   KEYS  1 active   2 lease   3 retry   4 due   5 processed today   6 processed   7 failed today   8 failed
--   ARGV  1 task key prefix   2 expiry of the daily counters (Unix s)
--         then per task: id, tokens, message, due (Unix s), '1' if it counts as a failure, attempt (JSON line or '')
--   ->    per task: 1 moved, 0 refused, 2 left active because it was cancelled meanwhile: archive it
local results, ids, failures = {}, {}, 0
for i = 3, #ARGV, 6 do
  local id = ARGV[i]
  local key = ARGV[1] .. id
  local result = 0
  if leased(KEYS[2], id, ARGV[i + 1]) then
    result = redis.call('HEXISTS', key, 'stop') == 1 and 2 or 1
  end
  results[#results + 1] = result
  if result == 1 then
    local due = tonumber(ARGV[i + 3])
    ids[#ids + 1] = id
    redis.call('HSET', key, 'msg', ARGV[i + 2], 'state', 'retry')
    redis.call('HDEL', key, 'owner', 'started_at', 'deaths')
    redis.call('ZADD', KEYS[3], math.ceil(due), id)
    if math.ceil(due) ~= due then
      redis.call('ZADD', KEYS[4], ARGV[i + 3], id)
    end
    record(key, ARGV[i + 5])
    failures = failures + tonumber(ARGV[i + 4])
  end
end
if #ids > 0 then
  release(KEYS[1], KEYS[2], ids)
end
if failures > 0 then
  count(KEYS[5], KEYS[6], failures, ARGV[2])
  count(KEYS[7], KEYS[8], failures, ARGV[2])
end
return results
