-- KEYS: the namespace's mark (also the name of its channel), then a register for each write.
-- ARGV: birth id; the line of INFO that names the replication id, or nothing where that is no part of the memory;
--   then for each write the stamp expected (with a minus before it: delete) and the value; last, for a single write, the
--   memory's id if those who watch are to be shown what it wrote.
-- Returns the stamp that was given, and for each write 1 (done), 0 (deleted), or what is there instead.
local call, find = redis.call, string.find
local info = call('INFO', 'replication')
if not find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is not a master')
end
local mark = call('HMGET', KEYS[1], 'birth', 'floor')
if mark[1] ~= ARGV[1] or not mark[2] or not find(info, ARGV[2], 1, true) then
  return 'gone'
end
-- All reads come before the first write: a register of another type fails the call while nothing is done.
local reply, stamps, changed, stamp = {}, {}, {}, nil
for i = 2, #KEYS do
  stamps[i] = call('HMGET', KEYS[i], 'stamp')[1] or '0'
end
for i = 2, #KEYS do
  local expected, there = ARGV[2 * i - 1], stamps[i]
  if expected == there or expected == '-' .. there then
    if not stamp then
      local time = call('TIME')
      stamp = string.format('%.0f', math.max(time[1] * 1000000 + time[2], mark[2] + 1))
    end
    -- The first write. If memory is short or rights are missing it fails, and nothing is done. The index gets what was
    -- there before, too: so a register that was taken out of it by hand is in it again.
    call('HSET', KEYS[1], 'floor', stamp, KEYS[i], '')
    if expected == there then
      call('HSET', KEYS[i], 'stamp', stamp, 'value', ARGV[2 * i])
      reply[i] = 1
    else
      call('DEL', KEYS[i])
      call('HDEL', KEYS[1], KEYS[i])
      reply[i] = 0
    end
    changed[#changed + 1] = KEYS[i]
  else
    local register = call('HMGET', KEYS[i], 'stamp', 'value')
    reply[i] = register[1] and register
  end
end
if stamp then
  local shown = ARGV[2 * #KEYS + 1]
  if shown then
    changed = {'', changed[1], shown, stamp, ARGV[4]}
  end
  call('PUBLISH', KEYS[1], table.concat(changed, '\n'))
end
reply[1] = stamp or '0'
return reply
