-- removed.lua: note that a queue was removed, for clients that would not name it again; say if it holds tasks again.
--   flags allow-oom
--   KEYS  1 note
--   ARGV  1 key prefix of the queue   2 text of the note: one for each removal   3 TTL (s)
--   ->    1 if it holds tasks, else 0
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
for _, name in ipairs({ 'pending', 'active', 'scheduled', 'retry', 'archived', 'completed', 'groups', 'aggregation_sets' }) do
  if redis.call('EXISTS', ARGV[1] .. name) == 1 then
    return 1
  end
end
return 0
