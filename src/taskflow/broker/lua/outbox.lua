-- outbox.lua: read notices of ended tasks, whichever come first; they stay.
--   KEYS  1 outbox
--   ARGV  1 most
--   ->    per notice: id, text
local found = redis.pcall('HRANDFIELD', KEYS[1], ARGV[1], 'WITHVALUES')
return found.err and {} or found
