-- record(key, attempt): keep a failed attempt (a line of JSON) beside the newest nine before it.
local function record(key, attempt)
  if attempt == '' then
    return
  end
  local lines = {}
  for line in string.gmatch(redis.call('HGET', key, 'attempts') or '', '[^\n]+') do
    lines[#lines + 1] = line
  end
  lines[#lines + 1] = attempt
  redis.call('HSET', key, 'attempts', table.concat(lines, '\n', math.max(1, #lines - 9)))
end
