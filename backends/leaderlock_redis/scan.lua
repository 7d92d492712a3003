-- KEYS: the namespace's mark, so that a cluster's node that does not keep it says who does.
-- ARGV: where to go on, which keys to look for, how many to pass over in one step.
-- Returns the replication id (another server has other cursors), where to go on, and what was found.
local call = redis.call
local replid = string.match(call('INFO', 'replication'), 'master_replid:(%x+)') or ''
local page = call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])
local found = {}
for _, key in ipairs(page[2]) do
  if key ~= KEYS[1] then
    found[#found + 1] = {key, call('HMGET', key, 'stamp', 'value')}
  end
end
return {replid, page[1], found}
