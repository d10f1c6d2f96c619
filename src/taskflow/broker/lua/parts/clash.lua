-- clash(queue, due, channel, pending, task, holder): what becomes of a task whose lock is held: 1 or {1, ...} if it is to be
--   stored nevertheless; enqueue.lua lists the answers. `task.old` is the message that its id has already, `pending` are the
--   ids that the call is about to make pending.
local function clash(queue, due, channel, pending, task, holder)
  local ending, choice = string.match(task.terms, ':(%a+):(%a+)$')
  local repeated = task.old == task.message
  if task.old and (holder ~= task.id or not choice or choice == 'refuse') then
    return repeated and 2 or 0
  elseif type(holder) ~= 'string' then
    return '' -- a key of another kind counts as held
  elseif holder == task.id and not task.old and ending ~= 'expired' then
    return 1 -- an older task of this id has left it behind
  elseif choice == 'return' then
    return { 0, holder, known(queue, due, holder) }
  elseif choice ~= 'replace' then
    return holder
  end
  local state = displace(queue, due, task.lock, holder, channel)
  if state then
    return repeated and 2 or { 0, holder, state }
  end
  for i, id in ipairs(pending) do
    if id == holder then
      table.remove(pending, i)
      break
    end
  end
  return { 1, holder }
end
