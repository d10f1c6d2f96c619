-- release(active, lease, ids): take tasks off the active list and end their leases.
local function release(active, lease, ids)
  for _, id in ipairs(ids) do
    redis.call('LREM', active, -1, id)
  end
  redis.call('ZREM', lease, unpack(ids))
end
