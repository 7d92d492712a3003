-- KEYS: the namespace's mark, then the registers that are asked for.
-- ARGV: the birth id to lay if there is none; the highest floor that this client knows; a birth id that must not stay.
local call = redis.call
local info = call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is not a master')
end
local replid = string.match(info, 'master_replid:(%x+)') or ''
local mark = call('HMGET', KEYS[1], 'birth', 'floor', 'replid')
-- What is remembered may be older than what was granted: begin above everything that can have been given.
if mark[1] == ARGV[3] then
  mark[1] = false
end
if not (mark[1] and mark[2] and mark[3] == replid) then
  local time = call('TIME')
  local now = time[1] * 1000000 + time[2]
  mark[1] = mark[2] and mark[1] or ARGV[1]
  mark[2] = string.format('%.0f', math.max(now, (mark[2] or 0) + 1, ARGV[2] + 1))
  -- Redis finds a field of a small hash by passing over all others, unless one is longer than 64 bytes.
  call('HSET', KEYS[1], 'birth', mark[1], 'floor', mark[2], 'replid', replid,
    'about', 'the mark of a namespace of leaderlock; its other fields are the keys of the registers')
end
local reply = {mark[1], mark[2], replid}
for i = 2, #KEYS do
  local register = call('HMGET', KEYS[i], 'stamp', 'value')
  -- One nil for what is absent, and no list of two.
  reply[i + 2] = register[1] and register
end
return reply
