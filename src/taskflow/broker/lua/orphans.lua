-- orphans.lua: list active tasks without a lease; ids without a hash lose their place.
--   include release
--   flags allow-oom
--   KEYS  1 active   2 lease
--   ARGV  1 task key prefix
--   ->    per task: id, '-' (there is no lease), message, owner, how many workers died with it,
--         '' if its worker had not begun it ('1' if it had)
local found, ghosts = {}, {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local fields = redis.pcall('HMGET', ARGV[1] .. id, 'msg', 'owner', 'deaths', 'started_at')
  if not fields[1] then
    ghosts[#ghosts + 1] = id
  elseif not redis.call('ZSCORE', KEYS[2], id) then
    found[#found + 1] = id
    found[#found + 1] = '-'
    found[#found + 1] = fields[1]
    found[#found + 1] = fields[2] or ''
    found[#found + 1] = fields[3] or '0'
    found[#found + 1] = fields[2] and not fields[4] and '' or '1'
  end
end
for first = 1, #ghosts, 1000 do
  release(KEYS[1], KEYS[2], { unpack(ghosts, first, math.min(first + 999, #ghosts)) })
end
return found
