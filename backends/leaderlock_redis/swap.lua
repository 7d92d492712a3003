-- KEYS: the namespace's mark (also the name of its channel), then a register for each write.
-- ARGV: birth id; replication id, or nothing where that is no part of the memory;
--   then for each write the stamp expected (with a minus before it: delete) and the value.
local replid = string.match(redis.call('INFO', 'replication'), 'role:master.-master_replid:(%x+)')
if not replid then
  return redis.error_reply('READONLY this server is not a master')
end
local mark = redis.call('HMGET', KEYS[1], 'birth', 'floor')
if not mark[2] or mark[1] ~= ARGV[1] or (ARGV[2] ~= '' and ARGV[2] ~= replid) then
  return 'gone'
end
-- All reads come before the first write: a register of another type fails the call while nothing is done.
local reply, changed, stamp = {}, {}, nil
for i = 2, #KEYS do
  reply[i - 1] = redis.call('HMGET', KEYS[i], 'stamp', 'value')
end
for i = 2, #KEYS do
  local expected, value = ARGV[2 * i - 1], ARGV[2 * i]
  local plain = string.gsub(expected, '-', '')
  if (reply[i - 1][1] or '0') == plain then
    if not stamp then
      local time = redis.call('TIME')
      stamp = string.format('%.0f', math.max(time[1] * 1000000 + time[2], mark[2] + 1))
      -- The first write. If memory is short or rights are missing it fails, and nothing is done.
      redis.call('HSET', KEYS[1], 'floor', stamp)
    end
    if expected == plain then
      redis.call('HSET', KEYS[i], 'stamp', stamp, 'value', value)
      reply[i - 1] = stamp
    else
      redis.call('DEL', KEYS[i])
      reply[i - 1] = '0'
    end
    changed[#changed + 1] = KEYS[i]
  end
end
if stamp then
  redis.call('PUBLISH', KEYS[1], table.concat(changed, '\n'))
end
return reply
