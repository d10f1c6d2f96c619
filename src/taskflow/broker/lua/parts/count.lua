-- count(day, total, n, expires): add n to a daily and an all-time counter; a total at the end of its range starts again.
local function count(day, total, n, expires)
  if redis.call('INCRBY', day, n) == n then
    redis.call('EXPIREAT', day, expires)
  end
  local sum = redis.pcall('INCRBY', total, n)
  if type(sum) == 'table' and sum.err then
    redis.call('SET', total, n)
  end
end
