-- archive.lua: tasks that are given up: retries used up, SkipRetry, cancelled, undecodable, or three dead workers.
--   include leased, release, count, unlock, record
--   flags allow-oom
--   KEYS  1 active   2 lease   3 archived   4 processed today   5 processed   6 failed today   7 failed
--         8 outbox
--   ARGV  1 task key prefix   2 expiry of the daily counters (Unix s)   3 channel prefix   4 now (Unix s)
--         5 '1' = each task has a notice
--         then per task: id, tokens, lock key, message, '1' if it was cancelled, attempt (JSON line or '');
--         id of a notice and its text
--   ->    per task: 1 archived, 0 refused
local results, ids = {}, {}
local told = ARGV[5] == '1'
for i = 6, #ARGV, told and 8 or 6 do
  local id = ARGV[i]
  local key = ARGV[1] .. id
  local mine = leased(KEYS[2], id, ARGV[i + 1])
  results[#results + 1] = mine and 1 or 0
  if mine then
    ids[#ids + 1] = id
    redis.call('HSET', key, 'msg', ARGV[i + 3], 'state', 'archived')
    if ARGV[i + 4] == '1' then
      redis.call('HSET', key, 'cancelled', redis.call('HGET', key, 'stop') or ARGV[4])
      redis.call('HDEL', key, 'stop')
    end
    redis.call('ZADD', KEYS[3], ARGV[4], id)
    record(key, ARGV[i + 5])
    unlock(ARGV[i + 2], id)
    if told then
      redis.pcall('HSET', KEYS[8], ARGV[i + 6], ARGV[i + 7])
    end
    redis.call('PUBLISH', ARGV[3] .. id, 'archived')
  end
end
if #ids > 0 then
  release(KEYS[1], KEYS[2], ids)
  count(KEYS[4], KEYS[5], #ids, ARGV[2])
  count(KEYS[6], KEYS[7], #ids, ARGV[2])
end
return results
