-- unlist(list, ids): take ids off a list, from its right end on.
--   To take them off one by one would walk through the list for each. So they are blanked where they stand, and the blanks
--   ('' is nobody's id) go in one walk.
local function unlist(list, ids)
  if #ids < 5 then
    for _, id in ipairs(ids) do
      redis.call('LREM', list, 0, id)
    end
    return
  end
  local wanted, left, blanks = {}, #ids, 0
  for _, id in ipairs(ids) do
    wanted[id] = true
  end
  local last = redis.call('LLEN', list) - 1
  while last >= 0 and left > 0 do
    local first = math.max(0, last - 999)
    local window = redis.call('LRANGE', list, first, last)
    for i = #window, 1, -1 do
      if wanted[window[i]] then
        redis.call('LSET', list, first + i - 1, '')
        blanks = blanks + 1
        left = left - 1
      end
    end
    last = first - 1
  end
  if blanks > 0 then
    redis.call('LREM', list, -blanks, '')
  end
end
