-- scan.lua: ids behind a place in a list or set, which may have changed since the place was noted.
--   KEYS  1 list or set
--   ARGV  1 kind: list (from its tail on), up (a set, from the lowest score on) or down (from the highest)   2 how many ids
--         3 id after which to begin ('' = at the beginning)   4 its score; in a list, how many stood before it
--   ->    flat: id, then its score, or how many stand before it
-- In a set, the place is found whether its id is still there or not. In a list it is that of the id; without it, the beginning.
local key, kind, count, last, at = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local SLACK = 1000 -- by how much tasks that were put back at the tail may have moved the id away from it

local function place_in_list()
  if redis.call('LINDEX', key, -1 - at) == last then
    return at + 1
  end
  local index = redis.call('LPOS', key, last, 'RANK', -1, 'MAXLEN', at + SLACK)
  return index and redis.call('LLEN', key) - index or 0
end

-- Whether a stands before b in a set: by bytes, as Redis does it; Lua's own comparison may follow a locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

local function place_in_set(up)
  local rank = redis.call(up and 'ZRANK' or 'ZREVRANK', key, last)
  if rank and redis.call('ZSCORE', key, last) == at then
    return rank + 1
  end
  local low, high
  if up then
    low, high = redis.call('ZCOUNT', key, '-inf', '(' .. at), redis.call('ZCOUNT', key, '-inf', at)
  else
    low, high = redis.call('ZCOUNT', key, '(' .. at, '+inf'), redis.call('ZCOUNT', key, at, '+inf')
  end
  while low < high do
    local middle = math.floor((low + high) / 2)
    local id = redis.call(up and 'ZRANGE' or 'ZREVRANGE', key, middle, middle)[1]
    local behind = up and before(last, id) or not up and before(id, last)
    if behind then
      high = middle
    else
      low = middle + 1
    end
  end
  return low
end

if kind ~= 'list' then
  local first = last == '' and 0 or place_in_set(kind == 'up')
  return redis.call(kind == 'up' and 'ZRANGE' or 'ZREVRANGE', key, first, first + count - 1, 'WITHSCORES')
end
at = tonumber(at) or 0
local first = last == '' and 0 or place_in_list()
local ids = redis.call('LRANGE', key, -first - count, -first - 1)
local found = {}
for i = #ids, 1, -1 do
  found[#found + 1] = ids[i]
  found[#found + 1] = tostring(first + #ids - i)
end
return found
