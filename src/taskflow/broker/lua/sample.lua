-- sample.lua: note how a queue stands, once in each step of the finest resolution, and in all coarser ones.
--   KEYS  1 pending   2 active   3 processed   4 failed   5 note of a removal   6… samples (LIST) of each resolution, the finest first
--   ARGV  1 task key prefix   2 now (Unix ms)   then per resolution: step (ms), how many samples to keep
--   ->    1 noted, 0 refused: this step has its sample, or the queue is removed
-- A sample is a MessagePack array: from, for how long (ms), processed, failed, pending, active, age of the oldest pending (ms).
-- While nothing changes the last sample is prolonged: an idle queue has one. In a coarser resolution the greatest pending,
-- active and age of the step count. A key that holds another kind of value counts as empty.
local now = tonumber(ARGV[2])

local function size(key)
  local found = redis.pcall('LLEN', key)
  return type(found) == 'number' and found or 0
end

local function total(key)
  local found = redis.pcall('GET', key)
  return type(found) == 'string' and tonumber(found) or 0
end

local function age()
  local oldest = redis.pcall('LINDEX', KEYS[1], -1)
  local since = type(oldest) == 'string' and tonumber(redis.pcall('HMGET', ARGV[1] .. oldest, 'pending_since')[1] or nil)
  return since and math.max(0, math.floor(now - since / 1000000)) or 0
end

local function newest(key)
  local data = redis.pcall('LINDEX', key, -1)
  if type(data) == 'table' then
    redis.call('DEL', key)
  end
  local readable, sample = pcall(cmsgpack.unpack, type(data) == 'string' and data or '')
  return readable and type(sample) == 'table' and #sample == 7 and sample or nil
end

local function same(one, other)
  for i = 3, 7 do
    if one[i] ~= other[i] then
      return false
    end
  end
  return true
end

-- What to do with a sample: 'push' it, or let it be the 'last' one in place of the one that is there, which may end sooner.
local function note(key, last, sample, step)
  if not last then
    redis.call('RPUSH', key, cmsgpack.pack(sample))
    return
  end
  local ended = last[1] + last[2]
  local begin = math.floor(now / step) * step
  local merges = ended >= begin
  for i = 5, 7 do
    sample[i] = merges and math.max(sample[i], last[i]) or sample[i]
  end
  if same(last, sample) and now - ended <= 2.5 * step then
    last[2] = now - last[1]
    redis.call('LSET', key, -1, cmsgpack.pack(last))
  elseif merges and last[1] >= begin then
    redis.call('LSET', key, -1, cmsgpack.pack(sample))
  else
    if merges then
      last[2] = begin - 1 - last[1]
      redis.call('LSET', key, -1, cmsgpack.pack(last))
    end
    redis.call('RPUSH', key, cmsgpack.pack(sample))
  end
end

local finest = newest(KEYS[6])
local pending = size(KEYS[1])
if finest and (finest[1] + finest[2] >= math.floor(now / ARGV[3]) * ARGV[3]) then
  return 0
elseif pending == 0 and redis.call('EXISTS', KEYS[5]) == 1 then
  return 0
end
local values = { total(KEYS[3]), total(KEYS[4]), pending, size(KEYS[2]), age() }
for i = 6, #KEYS do
  local step, points = tonumber(ARGV[2 * i - 9]), tonumber(ARGV[2 * i - 8])
  note(KEYS[i], i == 6 and finest or newest(KEYS[i]), { now, 0, unpack(values) }, step)
  redis.call('LTRIM', KEYS[i], -points, -1)
  redis.call('PEXPIRE', KEYS[i], (points + 2) * step)
end
return 1
