-- ARGV: limit; the marker's position ('-inf' at the start) and id; 1 to show claimed ones; 1 to show delayed ones;
-- the MessagePack of the client whose messages are left out, '' for none.
-- Returns now; 1 if more follows (or, where some are left out, there may be), 0 if not, 2 if it gave up looking; the
-- position and id that it came to; those of a marker, which passes no hidden message that is delayed, because later
-- posts come before it; of the messages ids, holders, facts of the claims that hold them, and bodies; and, where some
-- are left out, positions.
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

local function read(key, shift, count) -- up to count behind the marker, and their positions
  local found, positions = {}, {}
  local from = '-inf'
  if after ~= '-inf' then
    from = integer(after - shift)
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, from, from)) do -- those that share its position
      if is_behind(id, after_id) and #found < count then
        found[#found + 1], positions[#positions + 1] = id, tonumber(after)
      end
    end
    from = '(' .. from
  end
  local rest = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, count - #found)
  for index = 1, #rest, 2 do
    found[#found + 1], positions[#positions + 1] = rest[index], rest[index + 1] + shift
  end
  return found, positions
end

local function merge(found, positions, others, their_positions, count)
  if not others[1] then
    return found, positions
  end
  local members, scores, i, j = {}, {}, 1, 1
  while #members < count and (found[i] or others[j]) do
    local a, b = positions[i] or math.huge, their_positions[j] or math.huge
    if a < b or (a == b and is_behind(others[j], found[i])) then
      members[#members + 1], scores[#scores + 1], i = found[i], a, i + 1
    else
      members[#members + 1], scores[#scores + 1], j = others[j], b, j + 1
    end
  end
  return members, scores
end

local function read_all(count)
  local members, positions = read(ORDER, 0, count)
  if with_claimed then
    local held, held_at = read(CLAIMED, 0, count)
    members, positions = merge(members, positions, held, held_at, count)
  end
  if with_delayed then
    local delayed, delayed_at = read(DELAYED, offset, count)
    members, positions = merge(members, positions, delayed, delayed_at, count)
  end
  return members, positions
end

local marker, marker_id = '', '' -- empty while it stays where it was

local function pass(id, position)
  after, after_id = integer(position), id
end

local function keep_marker()
  marker, marker_id = after, after_id
end

local function answer(more, members, bodies, positions)
  local holders = fetch('HMGET', HOLDERS, members)
  local claims = with_claimed and claims_of(holders) or {}
  return { now, more, after, after_id, marker, marker_id, members, holders, claims, bodies, positions }
end

if hidden == '' then
  local members, positions = read_all(limit + 1)
  local shown = math.min(fitting(members), limit)
  local more = #members > shown and 1 or 0
  cut(members, shown)
  if shown > 0 then
    pass(members[shown], positions[shown])
    keep_marker()
  end
  return answer(more, members, fetch('HMGET', BODIES, members), {})
end

local shown, bodies, shown_at, bytes = {}, {}, {}, 0
for _ = 1, SCANNED, SCANNED_AT_ONCE do
  local members, positions = read_all(SCANNED_AT_ONCE)
  local found = fetch('HMGET', BODIES, members)
  for index = 1, #members do
    local body = found[index] or ''
    local is_hidden = string.sub(body, CLIENT, CLIENT + #hidden - 1) == hidden
    bytes = bytes + #body
    pass(members[index], positions[index])
    if not is_hidden or positions[index] <= now + offset then
      keep_marker()
    end
    if not is_hidden then
      shown[#shown + 1], bodies[#bodies + 1], shown_at[#shown_at + 1] = members[index], body, after
      if #shown == limit then
        return answer(1, shown, bodies, shown_at)
      end
    end
  end
  if #members < SCANNED_AT_ONCE then
    return answer(0, shown, bodies, shown_at)
  end
  if bytes > MOST_BYTES then
    break
  end
end
return answer(2, shown, bodies, shown_at)
