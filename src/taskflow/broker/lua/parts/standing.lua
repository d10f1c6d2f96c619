-- standing(task, states): whether a task that was read (state first) is in one of some states, named with a space around each.
local function standing(task, states)
  return task[1] and string.find(states, ' ' .. task[1] .. ' ', 1, true) ~= nil
end
