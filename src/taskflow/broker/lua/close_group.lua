-- close_group.lua: move the members of groups that are due, oldest first, into sets of their own, to be aggregated.
--   A group is due when it has its largest size, when its oldest member has waited for the longest delay, or when its
--   newest has waited for the grace period. Times of members are whole seconds, rounded down: no delay is exceeded, no
--   grace period cut short.
--   flags allow-oom: with memory full, groups must still drain
--   KEYS  1 groups   2 aggregation sets
--   ARGV  1 group key prefix   2 now (Unix s)   3 deadline of the sets (Unix s): the token of whoever closes them
--         4 largest size (0 = none)   5 longest delay (s, 0 = none)   6 grace period (s)   7 most members of a set
--         8 most sets   then per group: name, id of its set
--   ->    per group: how many members the set has; 0 if the group is not due
local now, size_limit, delay, grace = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local most, sets_left = tonumber(ARGV[7]), tonumber(ARGV[8])
-- Fails here, with nothing moved, if a key of the queue holds another kind of value.
redis.call('SCARD', KEYS[1])
redis.call('ZCARD', KEYS[2])

local function joined(group, rank)
  return tonumber(redis.call('ZRANGE', group, rank, rank, 'WITHSCORES')[2])
end

local function due(group, size)
  return (size_limit > 0 and size >= size_limit)
    or (delay > 0 and joined(group, 0) + delay <= now)
    or joined(group, -1) + 1 + grace <= now
end

local function move(group, set, count)
  for first = 0, count - 1, 500 do
    local members = redis.call('ZPOPMIN', group, math.min(500, count - first))
    local pairs_of = {}
    for i = 1, #members, 2 do
      pairs_of[i] = members[i + 1]
      pairs_of[i + 1] = members[i]
    end
    redis.call('ZADD', set, unpack(pairs_of))
  end
end

local moved = {}
for i = 9, #ARGV, 2 do
  local group, set = ARGV[1] .. ARGV[i], ARGV[1] .. ARGV[i] .. ':' .. ARGV[i + 1]
  local size = redis.pcall('ZCARD', group)
  local count = 0
  if size == 0 then
    redis.call('SREM', KEYS[1], ARGV[i])
  elseif type(size) == 'number' and sets_left > 0 and due(group, size) then
    count = math.min(size, most, size_limit > 0 and size_limit or size)
    if count == size then
      redis.call('RENAME', group, set)
      redis.call('SREM', KEYS[1], ARGV[i])
    else
      move(group, set, count)
    end
    redis.call('ZADD', KEYS[2], ARGV[3], set)
    sets_left = sets_left - 1
  end
  moved[#moved + 1] = count
end
return moved
