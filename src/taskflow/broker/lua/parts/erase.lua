-- erase(tasks, ids): delete the hashes of tasks, and the locks they hold. Returns how many there were.
local function erase(tasks, ids)
  local count = 0
  for _, id in ipairs(ids) do
    local key = tasks .. id
    unlock(redis.pcall('HMGET', key, 'unique_key')[1], id)
    count = count + redis.call('DEL', key)
  end
  return count
end
