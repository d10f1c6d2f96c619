-- done.lua: tasks that ended and are not kept (success without retention, or revoked).
--   include leased, release, count, unlock
--   flags allow-oom
--   KEYS  1 active   2 lease   3 processed today   4 processed   5 outbox
--   ARGV  1 task key prefix   2 expiry of the daily counter (Unix s)   3 '1' = each task has a notice
--         then per task: id, tokens, lock key; id of a notice and its text
--   ->    per task: 1 done, 0 refused (the lease is not the caller's)
local results, ids, hashes = {}, {}, {}
local told = ARGV[3] == '1'
for i = 4, #ARGV, told and 5 or 3 do
  local mine = leased(KEYS[2], ARGV[i], ARGV[i + 1])
  results[#results + 1] = mine and 1 or 0
  if mine then
    ids[#ids + 1] = ARGV[i]
    hashes[#hashes + 1] = ARGV[1] .. ARGV[i]
    unlock(ARGV[i + 2], ARGV[i])
    if told then
      redis.pcall('HSET', KEYS[5], ARGV[i + 3], ARGV[i + 4])
    end
  end
end
if #ids > 0 then
  release(KEYS[1], KEYS[2], ids)
  redis.call('DEL', unpack(hashes))
  count(KEYS[3], KEYS[4], #ids, ARGV[2])
end
return results
