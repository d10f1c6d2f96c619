-- dequeue.lua: lease pending tasks to a worker, the oldest first; ids without a hash (of the right kind) are dropped.
--   A unique lock that lasts until its task is started ends here. A task that some workers died with is a suspect: it is
--   leased, but not begun (it has no `started_at`) before begin.lua says so, and until then no further death counts.
--   flags allow-oom: with memory full, queues must still drain
--   KEYS  1 pending   2 active   3 lease   4 paused
--   ARGV  1 task key prefix   2 lease expiry (Unix s)   3 how many   4 owner   5 now (Unix ns; '' = by the server's clock)
--         6 how many deaths make a suspect
--   ->    -1 the queue is paused; else per task: id, message, mark: '1' it is to be stopped, 's' it is a suspect, '' neither
if redis.call('EXISTS', KEYS[4]) == 1 then
  return -1
end
-- Fails here, with nothing taken, if a key of the queue holds another kind of value.
redis.call('LLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
local ids = redis.call('RPOP', KEYS[1], ARGV[3])
if not ids then
  return {}
end
local now = ARGV[5]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%d%06d000', time[1], time[2])
end
local found, active, leases = {}, {}, {}
for _, id in ipairs(ids) do
  local key = ARGV[1] .. id
  local fields = redis.pcall('HMGET', key, 'msg', 'stop', 'lock_until', 'deaths')
  if fields[1] then
    local mark = fields[2] and '1' or ''
    if fields[4] and mark == '' and (tonumber(fields[4]) or 0) >= tonumber(ARGV[6]) then
      mark = 's'
      redis.call('HSET', key, 'state', 'active', 'owner', ARGV[4])
      redis.call('HDEL', key, 'started_at')
    else
      redis.call('HSET', key, 'state', 'active', 'owner', ARGV[4], 'started_at', now)
    end
    redis.call('HDEL', key, 'pending_since', 'cancelled')
    if fields[3] then
      -- include unlock
      unlock(redis.call('HGET', key, 'unique_key'), id)
      redis.call('HDEL', key, 'unique_key', 'lock_until')
    end
    found[#found + 1] = id
    found[#found + 1] = fields[1]
    found[#found + 1] = mark
    active[#active + 1] = id
    leases[#leases + 1] = ARGV[2]
    leases[#leases + 1] = id
  end
end
if #active > 0 then
  redis.call('LPUSH', KEYS[2], unpack(active))
  redis.call('ZADD', KEYS[3], unpack(leases))
end
return found
