-- ARGV: limit; the marker's position ('-inf' at the start) and id; 1 to show claimed ones; 1 to show delayed ones;
-- the MessagePack of the client whose messages are left out, '' for none.
-- Returns now; 1 if more follows (or, where some are left out, there may be), 0 if not, 2 if it gave up looking; the
-- position and id that it came to; of the messages ids, expiries, holders, bodies and positions in a claim; and, where
-- some are left out, positions.
local limit, after, after_id = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local with_claimed, with_delayed, hidden = ARGV[4] == '1', ARGV[5] == '1', ARGV[6]
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
  local ties = after == '-inf' and 0 or redis.call('ZCOUNT', key, after, after)
  local most = with_delayed and '+inf' or now
  local found = redis.call('ZRANGEBYSCORE', key, after, most, 'WITHSCORES', 'LIMIT', 0, count + ties)
  local members, positions = {}, {}
  for index = 1, #found, 2 do
    local id, position = found[index], tonumber(found[index + 1])
    if #members < count and (index > 2 * ties or position ~= tonumber(after) or is_behind(id, after_id)) then
      members[#members + 1] = id
      positions[#positions + 1] = position
    end
  end
  return members, positions
end

local function read_both(count)
  local free, free_positions = read(ORDER, count)
  if not with_claimed then
    return free, free_positions
  end
  local held, held_positions = read(CLAIMED, count)
  local members, positions, i, j = {}, {}, 1, 1
  while #members < count and (free[i] or held[j]) do
    local a, b = free_positions[i], held_positions[j]
    if not b or (a and (a < b or (a == b and is_behind(held[j], free[i])))) then
      members[#members + 1], positions[#positions + 1], i = free[i], a, i + 1
    else
      members[#members + 1], positions[#positions + 1], j = held[j], b, j + 1
    end
  end
  return members, positions
end

local function pass(id, position)
  after, after_id = integer(position), id
end

local function answer(more, members, positions, bodies)
  return {
    now,
    more,
    after,
    after_id,
    members,
    fetch('ZMSCORE', EXPIRY, members),
    fetch('HMGET', HOLDERS, members),
    bodies or fetch('HMGET', BODIES, members),
    with_claimed and fetch('ZMSCORE', CLAIMED, members) or {},
    positions,
  }
end

if hidden == '' then
  local members, positions = read_both(limit + 1)
  local shown = math.min(fitting(members), limit)
  local more = #members > shown and 1 or 0
  for index = #members, shown + 1, -1 do
    members[index] = nil
  end
  if shown > 0 then
    pass(members[shown], positions[shown])
  end
  return answer(more, members, {})
end

local shown, places, bodies, bytes = {}, {}, {}, 0
for _ = 1, SCANNED, SCANNED_AT_ONCE do
  local members, positions = read_both(SCANNED_AT_ONCE)
  local found = fetch('HMGET', BODIES, members)
  for index = 1, #members do
    local body = found[index]
    pass(members[index], positions[index])
    bytes = bytes + #body
    if string.sub(body, CLIENT, CLIENT + #hidden - 1) ~= hidden then
      shown[#shown + 1], places[#places + 1], bodies[#bodies + 1] = members[index], after, body
      if #shown == limit then
        return answer(1, shown, places, bodies)
      end
    end
  end
  if #members < SCANNED_AT_ONCE then
    return answer(0, shown, places, bodies)
  end
  if bytes > MOST_BYTES then
    break
  end
end
return answer(2, shown, places, bodies)
