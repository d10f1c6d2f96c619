-- read.lua: everything known of tasks.
--   include known
--   KEYS  1 lease
--   ARGV  1 key prefix of the queue   2 key of the exact due times   3 how much of payloads and results (bytes), '' for all
--         then per task: id
--   ->    per task: false, or what the part `known` says
local tasks = {}
local most = tonumber(ARGV[3])
for i = 4, #ARGV do
  tasks[#tasks + 1] = known(ARGV[1], ARGV[2], ARGV[i], most)
end
return tasks
