-- unlock(key, id): free a unique lock if it is still this task's.
local function unlock(key, id)
  if key and key ~= '' and redis.pcall('GET', key) == id then
    redis.call('DEL', key)
  end
end
