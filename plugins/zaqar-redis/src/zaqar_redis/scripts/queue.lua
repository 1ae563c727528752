-- In front of every script on a queue. KEYS[1] is the queue's stem; its hash tag puts all keys of a queue in one slot.
-- Moments and positions are microseconds since 1970. A position is given once: the moment at which a message becomes
-- available, moved on where that is taken.
local stem = KEYS[1]
local CLOCK = stem .. ':clock' -- string: the last position given, or moment acted on
local ORDER = stem .. ':order' -- sorted set: messages that no claim holds, by position; delayed are those after now
local CLAIMED = stem .. ':claimed' -- sorted set: messages that a claim holds, by position
local EXPIRY = stem .. ':expiry' -- sorted set: all messages, by the moment they expire
local BODIES = stem .. ':bodies' -- hash: message -> MessagePack of (moment of the post, client, headers, body)
local HOLDERS = stem .. ':holders' -- hash: message -> the last claim that took it, and how often it was claimed
local CLAIMS = stem .. ':claims' -- hash: claim -> messages it holds:moment it began:length
local ENDS = stem .. ':ends' -- sorted set: claims, by the moment they end
local DEDUP = stem .. ':dedup' -- hash: dedup id -> message
local DEDUP_ENDS = stem .. ':dedup-ends' -- sorted set: dedup ids, by the moment they are forgotten

local ID = 12 -- characters of an id
local CHUNK = 4000 -- arguments of one call; unpack fails at about 8 000
local SETTLED_PER_CALL = 1000
local MOST_BYTES = 64 * 1024 * 1024 -- of one reply, where it may be short
local CLOCK_KEPT = 86400000 -- milliseconds; by then the server's clock is ahead of any position given

local time = redis.call('TIME')
local last = tonumber(redis.call('GET', CLOCK) or 0)
local now = time[1] * 1000000 + time[2]
if now < last then
  now = last -- the server's clock went back, or more was posted at once than a microsecond each
end

local function claim_list(claim) -- list: the messages that a claim took, by position; some may have left it
  return stem .. ':claim:' .. claim
end

local function integer(number) -- tostring would round it
  return string.format('%.0f', number)
end

local function keep_clock(moment)
  redis.call('SET', CLOCK, integer(moment), 'PX', CLOCK_KEPT)
end

local function change(command, key, arguments)
  for first = 1, #arguments, CHUNK do
    redis.call(command, key, unpack(arguments, first, math.min(first + CHUNK - 1, #arguments)))
  end
end

local function fetch(command, key, members)
  if #members <= CHUNK then
    return #members > 0 and redis.call(command, key, unpack(members)) or {}
  end
  local found = {}
  for first = 1, #members, CHUNK do
    local part = redis.call(command, key, unpack(members, first, math.min(first + CHUNK - 1, #members)))
    for index = 1, #part do
      found[first + index - 1] = part[index]
    end
  end
  return found
end

local function split(pairs_) -- of a reply WITHSCORES: members, positions
  local members, positions = {}, {}
  for index = 1, #pairs_, 2 do
    members[#members + 1] = pairs_[index]
    positions[#positions + 1] = pairs_[index + 1]
  end
  return members, positions
end

local function joined(scores, members)
  local arguments = {}
  for index = 1, #members do
    arguments[2 * index - 1] = scores[index]
    arguments[2 * index] = members[index]
  end
  return arguments
end

local function remove(messages) -- what a claim's list still says of them is passed over
  change('ZREM', ORDER, messages)
  change('ZREM', CLAIMED, messages)
  change('ZREM', EXPIRY, messages)
  change('HDEL', BODIES, messages)
  change('HDEL', HOLDERS, messages)
end

local function drop_claim(claim)
  redis.call('UNLINK', claim_list(claim))
  redis.call('ZREM', ENDS, claim)
  redis.call('HDEL', CLAIMS, claim)
end

local function held_by(claim, messages) -- those of the messages that it holds, and their positions
  local positions = fetch('ZMSCORE', CLAIMED, messages)
  local holders = fetch('HMGET', HOLDERS, messages)
  local members, places = {}, {}
  for index = 1, #messages do
    if positions[index] and string.sub(holders[index], 1, ID) == claim then
      members[#members + 1] = messages[index]
      places[#places + 1] = positions[index]
    end
  end
  return members, places
end

local function lessen_claim(claim, count) -- so many messages have left it
  local held, rest = string.match(redis.call('HGET', CLAIMS, claim), '^(%d+)(.*)$')
  if tonumber(held) > count then
    redis.call('HSET', CLAIMS, claim, integer(held - count) .. rest)
  else
    drop_claim(claim)
  end
end

-- Works in what time has changed, a bounded part of it. Says whether that was all, and how many messages expired.
local function settle()
  local room = SETTLED_PER_CALL
  local expired = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, room)
  remove(expired)
  room = room - #expired
  local claim = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, 1)[1]
  while claim and room > 0 do
    local listed = redis.call('LRANGE', claim_list(claim), 0, room - 1)
    local members, positions = held_by(claim, listed)
    change('ZREM', CLAIMED, members)
    change('ZADD', ORDER, joined(positions, members))
    if #listed < room then
      drop_claim(claim)
    else
      redis.call('LTRIM', claim_list(claim), room, -1)
    end
    room = room - #listed
    claim = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, 1)[1]
  end
  -- A delay that was seen to be over stays over. A full server allows SET only behind a change that needs no memory.
  if last < now and redis.call('ZCOUNT', ORDER, '(' .. integer(last), now) > 0 then
    redis.call('PEXPIRE', CLOCK, CLOCK_KEPT)
    keep_clock(now)
  end
  return room > 0, #expired
end

-- How many of the messages, from the first on, fit into one reply; one always does.
local function fitting(messages)
  local small = 256 -- of the largest size
  if #messages <= small then
    return #messages
  end
  local bytes = 0
  for index = 1, #messages do
    bytes = bytes + redis.call('HSTRLEN', BODIES, messages[index])
    if bytes > MOST_BYTES and index > 1 then
      return index - 1
    end
  end
  return #messages
end

local function end_of(free, held, first_is_held) -- of two pairs of message and position
  if not (free[1] and held[1]) then
    return free[1] or held[1]
  end
  return first_is_held(tonumber(held[2]), tonumber(free[2])) and held[1] or free[1]
end

local function oldest() -- by position, among active and claimed messages; nil if there is none
  return end_of(
    redis.call('ZRANGEBYSCORE', ORDER, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 1),
    redis.call('ZRANGE', CLAIMED, 0, 0, 'WITHSCORES'),
    function(held, free)
      return held < free
    end
  )
end

local function newest()
  return end_of(
    redis.call('ZREVRANGEBYSCORE', ORDER, now, '-inf', 'WITHSCORES', 'LIMIT', 0, 1),
    redis.call('ZREVRANGE', CLAIMED, 0, 0, 'WITHSCORES'),
    function(held, free)
      return held > free
    end
  )
end
