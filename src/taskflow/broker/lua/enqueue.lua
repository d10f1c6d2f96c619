-- enqueue.lua: store new tasks, each pending, scheduled (a due time wins over a group) or in its group.
--   KEYS  1 pending   2 scheduled   3 groups   4 due   5 note of a removal
--   ARGV  1 key prefix of the queue   2 channel prefix for ends   3 now (Unix ns)   4 now (Unix s)
--         5 channel for a nearer due time   6 queue   7 TTL of marks (s)
--         then per task: id, message, due (Unix s, '' = now), group ('' = none), lock key ('' = none), terms of the lock
--         (see the part `hold`), key of a mark that lets it be stored once ('' = none)
--   ->    per task: 1 stored, 0 the id exists, 2 it exists with this very message, or the mark is its own (a
--         repeat), 3 the mark is another's;
--         if another task holds the lock: its id, or by what is to be done then
--           return:  {0, its id, what the part `known` says of it, nil if it is gone}
--           replace: {1, its id}: stored in its place; {0, its id, the state that keeps it there, '' if it is gone}
--         and one element more, the text of the note, if nothing waited in the queue and it was removed not long ago
-- Fails here, with nothing written, if a key of the queue holds another kind of value.
local waiting = redis.call('LLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]) + redis.call('SCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4])

local queue, tasks = ARGV[1], ARGV[1] .. 't:'
local stored, pending = {}, {}
local nearest = false

for i = 8, #ARGV, 7 do
  local id, message, due, group, lock, mark = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 6]
  local key = tasks .. id
  -- pcall: a key of another kind counts as taken, and the other tasks are stored nevertheless
  local old = redis.pcall('HGET', key, 'msg')
  local holder = lock ~= '' and redis.pcall('GET', lock)
  local marked = mark ~= '' and redis.pcall('GET', mark)
  local result = 1
  if marked then
    result = marked == id and 2 or 3
  elseif holder then
    -- include detach, displace, known, clash
    local task = { id = id, message = message, old = old, lock = lock, terms = ARGV[i + 5] }
    result = clash(queue, KEYS[4], ARGV[2], pending, task, holder)
  elseif old then
    result = old == message and 2 or 0
  end
  if result == 1 or (type(result) == 'table' and result[1] == 1) then
    if due ~= '' then
      redis.call('HSET', key, 'msg', message, 'state', 'scheduled')
      local second = math.ceil(tonumber(due))
      redis.call('ZADD', KEYS[2], second, id)
      if second ~= tonumber(due) then
        redis.call('ZADD', KEYS[4], due, id)
      end
      nearest = nearest or redis.call('ZRANGE', KEYS[2], 0, 0)[1] == id or redis.call('ZRANGE', KEYS[4], 0, 0)[1] == id
      if group ~= '' then
        redis.call('HSET', key, 'group', group)
      end
    elseif group ~= '' then
      redis.call('HSET', key, 'msg', message, 'state', 'aggregating', 'group', group)
      redis.call('ZADD', queue .. 'g:' .. group, ARGV[4], id)
      redis.call('SADD', KEYS[3], group)
    else
      redis.call('HSET', key, 'msg', message, 'state', 'pending', 'pending_since', ARGV[3])
      pending[#pending + 1] = id
    end
    if lock ~= '' then
      -- include hold
      hold(key, id, lock, ARGV[i + 5])
    end
    if mark ~= '' then
      redis.call('SET', mark, id, 'EX', ARGV[7])
    end
  end
  stored[#stored + 1] = result
end
if #pending > 0 then
  redis.call('LPUSH', KEYS[1], unpack(pending))
end
if nearest then
  redis.call('PUBLISH', ARGV[5], ARGV[6])
end
local note = waiting == 0 and redis.pcall('GET', KEYS[5])
if type(note) == 'string' then
  stored[#stored + 1] = note
end
return stored
