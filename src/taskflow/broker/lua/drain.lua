-- drain.lua: delete tasks of a removed list or set, with the locks they hold.
--   include unlock, erase
--   flags allow-oom: it frees memory
--   KEYS  1 list or sorted set
--   ARGV  1 task key prefix   2 most
--   ->    how many ids were taken off, and how many tasks there were
local kind = redis.call('TYPE', KEYS[1]).ok
local ids = {}
if kind == 'list' then
  ids = redis.call('RPOP', KEYS[1], ARGV[2])
elseif kind == 'zset' then
  local popped = redis.call('ZPOPMIN', KEYS[1], ARGV[2])
  for i = 1, #popped, 2 do
    ids[#ids + 1] = popped[i]
  end
else
  redis.call('UNLINK', KEYS[1])
end
return { #ids, erase(ARGV[1], ids) }
