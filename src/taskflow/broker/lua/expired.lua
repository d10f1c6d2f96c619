-- expired.lua: list tasks whose lease has run out; ids without a hash lose their place.
--   include release
--   flags allow-oom
--   KEYS  1 active   2 lease
--   ARGV  1 task key prefix   2 cutoff (Unix s)   3 most
--   ->    per task: id, lease expiry (Unix s), message, owner ('' = a Go server), how many workers died with it,
--         '' if its worker had not begun it ('1' if it had)
local found, ghosts = {}, {}
local leases = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for i = 1, #leases, 2 do
  local fields = redis.pcall('HMGET', ARGV[1] .. leases[i], 'msg', 'owner', 'deaths', 'started_at')
  if fields[1] then
    found[#found + 1] = leases[i]
    found[#found + 1] = leases[i + 1]
    found[#found + 1] = fields[1]
    found[#found + 1] = fields[2] or ''
    found[#found + 1] = fields[3] or '0'
    found[#found + 1] = fields[2] and not fields[4] and '' or '1'
  else
    ghosts[#ghosts + 1] = leases[i]
  end
end
if #ghosts > 0 then
  release(KEYS[1], KEYS[2], ghosts)
end
return found
