-- KEYS: the namespace's mark, which is the index.
-- ARGV: where to go on, which keys to look for, how many to pass over in one step.
-- Returns the replication id (another server has other cursors), where to go on, and what was found.
local call = redis.call
local replid = string.match(call('INFO', 'replication'), 'master_replid:(%x+)') or ''
local page = call('HSCAN', KEYS[1], ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local found = {}
for i = 1, #page[2], 2 do
  local key = page[2][i]
  found[#found + 1] = {key, call('HMGET', key, 'stamp', 'value')}
end
return {replid, page[1], found}
