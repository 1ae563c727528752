-- ARGV: limit; the marker's position ('-inf' at the start) and id; 1 to show claimed ones; 1 to show delayed ones;
-- the MessagePack of the client whose messages are left out, '' for none.
-- Returns now; 1 if more follows (or, where some are left out, there may be), 0 if not, 2 if it gave up looking; the
-- position and id that it came to; of the messages ids, holders, facts of the claims that hold them, and bodies; and,
-- where some are left out, positions.
local limit, after, after_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local with_claimed, most, hidden = ARGV[4] == '1', ARGV[5] == '1' and '+inf' or now, ARGV[6]
local CLIENT = 11 -- where the client begins in a body, behind the array's head and the moment of the post
local SCANNED, SCANNED_AT_ONCE = 1024, 256

if not settle() then
  return false
end

-- As sorted sets do; Lua compares by the server's locale.
local function is_behind(id, other)
  for index = 1, ID do
    local one, two = string.byte(id, index), string.byte(other, index) or 0
    if one ~= two then
      return one > two
    end
  end
  return false
end

local function read(key, count) -- up to so many behind the marker
  if after == '-inf' then
    return redis.call('ZRANGEBYSCORE', key, '-inf', most, 'LIMIT', 0, count)
  end
  local found = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, after, after)) do -- those that share its position
    if is_behind(id, after_id) and #found < count then
      found[#found + 1] = id
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. after, most, 'LIMIT', 0, count - #found)) do
    found[#found + 1] = id
  end
  return found
end

local function merged(free, held, count)
  local free_at, held_at = fetch('ZMSCORE', ORDER, free), fetch('ZMSCORE', CLAIMED, held)
  local members, i, j = {}, 1, 1
  while #members < count and (free[i] or held[j]) do
    local a, b = tonumber(free_at[i] or math.huge), tonumber(held_at[j] or math.huge)
    if a < b or (a == b and is_behind(held[j], free[i])) then
      members[#members + 1], i = free[i], i + 1
    else
      members[#members + 1], j = held[j], j + 1
    end
  end
  return members
end

local function read_all(count)
  local free = read(ORDER, count)
  local held = with_claimed and read(CLAIMED, count) or {}
  return held[1] and merged(free, held, count) or free
end

local function pass(id)
  after = redis.call('ZSCORE', ORDER, id) or redis.call('ZSCORE', CLAIMED, id)
  after_id = id
end

local function answer(more, members, bodies, positions)
  local holders = fetch('HMGET', HOLDERS, members)
  return { now, more, after, after_id, members, holders, with_claimed and claims_of(holders) or {}, bodies, positions }
end

if hidden == '' then
  local members = read_all(limit + 1)
  local shown = math.min(fitting(members), limit)
  local more = #members > shown and 1 or 0
  cut(members, shown)
  if shown > 0 then
    pass(members[shown])
  end
  return answer(more, members, fetch('HMGET', BODIES, members), {})
end

local shown, bodies, positions, bytes = {}, {}, {}, 0
for _ = 1, SCANNED, SCANNED_AT_ONCE do
  local members = read_all(SCANNED_AT_ONCE)
  local found = fetch('HMGET', BODIES, members)
  for index = 1, #members do
    local body = found[index]
    bytes = bytes + #body
    if string.sub(body, CLIENT, CLIENT + #hidden - 1) ~= hidden then
      pass(members[index])
      shown[#shown + 1], bodies[#bodies + 1], positions[#positions + 1] = members[index], body, after
      if #shown == limit then
        return answer(1, shown, bodies, positions)
      end
    end
  end
  if members[1] then
    pass(members[#members])
  end
  if #members < SCANNED_AT_ONCE then
    return answer(0, shown, bodies, positions)
  end
  if bytes > MOST_BYTES then
    break
  end
end
return answer(2, shown, bodies, positions)
