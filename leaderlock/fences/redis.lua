-- Admits a token and runs commands under it, in one step.
-- KEYS: the watermark; then every word of the commands that may be a key in the watermark's slot. They are declared so
--   that a cluster looks at all of them before it runs anything.
-- ARGV: 'look', 'write', 'stamp' or 'adopt'; the token; then for each command how many words it has, and these.
-- Returns {1, replies}; {2, replies of which the last is an error}; {0, the highest token}; {-1} where there is no
--   watermark; {-2} where there is something else; {-3, which command, why} for one that can be seen to fail.
local attempt, find = redis.pcall, string.find
local what, token = ARGV[1], tonumber(ARGV[2])

local highest -- nil where there is something else
local mark = attempt('GET', KEYS[1])
if not mark then
  highest = 0
elseif type(mark) == 'string' then
  -- As numbers, which are exact below 2^53: as text, 9 would be above 10.
  if find(mark, '^[1-9]%d*$') and tonumber(mark) < 2^53 then
    highest = tonumber(mark)
  end
elseif not find(mark.err, 'WRONGTYPE', 1, true) then
  return mark
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

local is_near = {}
for i = 2, #KEYS do
  is_near[KEYS[i]] = true
end

-- What to answer instead of running a command; nothing if it seems fit to run.
local function refusal(words)
  if #words > 7000 then -- Lua hands over 8000 at most
    return 'has more than 7000 words; split it'
  end
  if redis.acl_check_cmd then -- since 7.0
    local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(words))
    if not is_known then
      return 'is no command of this server'
    elseif not is_allowed then
      return redis.error_reply('NOPERM this user has no permission to run ' .. words[1] .. '; nothing was done')
    end
  end
  if #words == 1 then -- which COMMAND GETKEYS does not take; there can be no keys
    local info = attempt('COMMAND', 'INFO', words[1])
    if not info.err and info[1] and (info[1][2] > 1 or info[1][2] < -1) then
      return 'is refused by the server: Invalid number of arguments'
    end
    return
  end
  local keys = attempt('COMMAND', 'GETKEYS', unpack(words))
  if keys.err then
    if find(keys.err, 'Invalid', 1, true) then
      return 'is refused by the server: ' .. keys.err
    elseif not find(keys.err, 'no key arguments', 1, true) then
      return keys
    end
  end
  for _, key in ipairs(keys) do
    if key == KEYS[1] then
      return 'has the watermark itself among its keys, which only the fence may change'
    elseif not is_near[key] then
      local slot = attempt('CLUSTER', 'KEYSLOT', key)
      if type(slot) == 'number' then
        return 'has a key outside of the watermark\'s hash tag; in a cluster all must share it: ' .. key
      elseif not find(slot.err, 'cluster support disabled', 1, true) then
        return slot
      end
    end
  end
end

-- Nothing can be taken back, so what can be known is looked at before the first write.
for i, words in ipairs(commands) do
  local why = refusal(words)
  if why then
    return type(why) == 'table' and why or {-3, i, why}
  end
end

-- The first write, also where the token is known: if memory is short, the server a replica or its disk full, it fails,
-- and nothing is done. And it takes away an expiry that somebody has set.
redis.call('SET', KEYS[1], string.format('%.0f', token))
local replies = {}
for i, words in ipairs(commands) do
  replies[i] = attempt(unpack(words))
  if type(replies[i]) == 'table' and replies[i].err then
    return {2, replies}
  end
end
return {1, replies}
