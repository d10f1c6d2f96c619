-- reopen_set.lua: put the members of the caller's set back into its group.
--   include leased, reopen
--   flags allow-oom
--   KEYS  1 groups   2 aggregation sets   3 set
--   ARGV  1 group key prefix   2 tokens   3 most members
--   ->    how many are back (the others follow as those of an abandoned set); -1 if the set is not the caller's
redis.call('SCARD', KEYS[1])
if not leased(KEYS[2], KEYS[3], ARGV[2]) then
  return -1
end
return reopen(KEYS[1], KEYS[2], ARGV[1], KEYS[3], tonumber(ARGV[3]))
