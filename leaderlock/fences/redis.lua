-- Admits a token and runs commands under it, in one step.
-- KEYS: the watermark; then every word of the commands that may be a key in the watermark's slot. They are declared so
--   that a cluster looks at all of them before it runs anything.
-- ARGV: 'look', 'write', 'stamp' or 'adopt'; the token; then for each command how many words it has, and these.
-- Returns {1, replies}; {2, replies of which the last is an error}; {0, the highest token}; {-1} where there is no
--   watermark; {-2} where there is something else; {-3, which command, why} for one that can be seen to fail.
local call, pcall_ = redis.call, redis.pcall
local what, token = ARGV[1], tonumber(ARGV[2])

local mark = pcall_('GET', KEYS[1])
local highest = 0
if type(mark) == 'string' then
  -- As numbers, which are exact below 2^53: as text, 9 would be above 10.
  highest = string.find(mark, '^[1-9]%d*$') and tonumber(mark)
  if not highest or highest >= 9007199254740992 then
    highest = nil
  end
elseif mark then
  if not string.find(mark.err, 'WRONGTYPE', 1, true) then
    return mark
  end
  highest = nil
end

if not highest and what ~= 'adopt' then
  return {-2}
elseif what == 'look' or (highest and token < highest) then
  return {0, highest}
elseif highest == 0 and what == 'write' then
  return {-1}
end

local commands, at = {}, 3
while ARGV[at] do
  local words = {}
  for i = 1, tonumber(ARGV[at]) do
    words[i] = ARGV[at + i]
  end
  commands[#commands + 1] = words
  at = at + #words + 1
end

-- Nothing can be taken back, so what can be known is looked at before the first write.
local is_near = {}
for i = 2, #KEYS do
  is_near[KEYS[i]] = true
end
for i, words in ipairs(commands) do
  if #words > 7000 then
    return {-3, i, 'has more than 7000 words; split it'}
  end
  if redis.acl_check_cmd then -- since 7.0
    local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(words))
    if not is_known then
      return {-3, i, 'is no command of this server'}
    elseif not is_allowed then
      return redis.error_reply('NOPERM this user may not run command ' .. i .. ' (' .. words[1] .. '); nothing was done')
    end
  end
  -- One word alone has no keys, and COMMAND GETKEYS does not take it.
  local keys = #words > 1 and pcall_('COMMAND', 'GETKEYS', unpack(words)) or {}
  if keys.err then
    if string.find(keys.err, 'Invalid', 1, true) then
      return {-3, i, 'is refused by the server: ' .. keys.err}
    elseif not string.find(keys.err, 'no key arguments', 1, true) then
      return redis.error_reply(keys.err)
    end
  end
  for _, key in ipairs(keys) do
    if key == KEYS[1] then
      return {-3, i, 'has the watermark itself among its keys, which only the fence may change'}
    elseif not is_near[key] then
      local slot = pcall_('CLUSTER', 'KEYSLOT', key)
      if type(slot) == 'number' then
        return {-3, i, 'has a key outside of the watermark\'s hash tag; in a cluster all must share it: ' .. key}
      elseif not string.find(slot.err, 'cluster support disabled', 1, true) then
        return redis.error_reply(slot.err)
      end
    end
  end
end

if token ~= highest then
  -- The first write: if memory is short, the server a replica or its disk full, it fails, and nothing is done.
  call('SET', KEYS[1], string.format('%.0f', token))
end
local replies = {}
for i, words in ipairs(commands) do
  local reply = pcall_(unpack(words))
  replies[i] = reply
  if type(reply) == 'table' and reply.err then
    return {2, replies}
  end
end
return {1, replies}
