-- group_of(prefix, set): the name of the group that a set was closed from; nil if the key is no set's.
local function group_of(prefix, set)
  return string.sub(set, 1, #prefix) == prefix and string.match(string.sub(set, #prefix + 1), '^(.+):[^:]*$') or nil
end

-- reopen(groups, sets, prefix, set, most): put members of a closed set back into its group, and its name among the groups;
--   they keep the times at which they joined. Until the last is back the set counts as abandoned. Returns how many.
local function reopen(groups, sets, prefix, set, most)
  local name = group_of(prefix, set)
  if name and type(redis.pcall('ZCARD', prefix .. name)) ~= 'number' then
    return 0 -- somebody put another kind of value under the group's key: the members are safer where they are
  end
  local members = name and redis.pcall('ZPOPMIN', set, most) or {}
  for first = 1, #members, 1000 do
    local back = {}
    for i = first, math.min(first + 999, #members), 2 do
      back[#back + 1] = members[i + 1]
      back[#back + 1] = members[i]
    end
    redis.call('ZADD', prefix .. name, unpack(back))
  end
  if #members > 0 then
    redis.call('SADD', groups, name)
  end
  if #members > 0 and redis.call('EXISTS', set) == 1 then
    redis.call('ZADD', sets, 0, set)
  else
    redis.call('ZREM', sets, set)
  end
  return #members / 2
end
