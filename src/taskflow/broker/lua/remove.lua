-- remove.lua: empty a queue at one stroke, however much it holds: its lists and sets get other names, to be drained.
--   flags allow-oom: it frees memory
--   KEYS  1 active   2 outbox
--   ARGV  1 key prefix of the queue   2 key prefix of what is removed   3 key of the exact due times
--         4 '1' = even if it holds tasks
--   ->    1 emptied, 0 what an earlier removal left is to be drained first, -1 tasks are running, -2 it holds tasks, or notices
--         of ended ones
if redis.call('EXISTS', KEYS[1]) == 1 then
  return -1
end
local filled = {}
for _, name in ipairs({ 'pending', 'scheduled', 'retry', 'archived', 'completed', 'groups', 'aggregation_sets' }) do
  if redis.call('EXISTS', ARGV[1] .. name) == 1 then
    filled[#filled + 1] = name
  end
end
if #filled + redis.call('EXISTS', KEYS[2]) > 0 and ARGV[4] ~= '1' then
  return -2
end
for _, name in ipairs(filled) do
  if redis.call('EXISTS', ARGV[2] .. name) == 1 then
    return 0
  end
end
for _, name in ipairs(filled) do
  redis.call('RENAME', ARGV[1] .. name, ARGV[2] .. name)
end
redis.call('UNLINK', KEYS[2], ARGV[3], ARGV[1] .. 'lease', ARGV[1] .. 'paused', ARGV[1] .. 'processed', ARGV[1] .. 'failed')
return 1
