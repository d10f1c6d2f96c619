-- leased(lease, id, tokens): whether the lease of a task is still the caller's.
--   tokens are the expiries that the caller knows for this task, with spaces between; '-' stands for "there is none".
local function leased(lease, id, tokens)
  local held = redis.call('ZSCORE', lease, id)
  if not held then
    return tokens == '-'
  end
  held = tonumber(held)
  if held == tonumber(tokens) then
    return true
  end
  for token in string.gmatch(tokens, '%S+') do
    if held == tonumber(token) then
      return true
    end
  end
  return false
end
