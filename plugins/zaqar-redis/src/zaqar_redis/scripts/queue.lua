-- In front of every script on a queue. KEYS[1] is the queue's stem; its hash tag puts all keys of a queue in one slot.
-- Moments are microseconds since 1970 by the server's clock; what expires, ends or wakes is judged by it alone.
-- A position is such a moment and an offset, which grows by as much as the clock is seen to go back: so positions never
-- go back. It is the one at which a message becomes available, moved on where that was given before.
local stem = KEYS[1]
local CLOCK = stem .. ':clock' -- string: MessagePack of last, seen, offset and due, see below
local ORDER = stem .. ':order' -- sorted set: active messages, by position
local DELAYED = stem .. ':delayed' -- sorted set: delayed messages, by the moment they become active
local CLAIMED = stem .. ':claimed' -- sorted set: messages that a claim holds, by position
local EXPIRY = stem .. ':expiry' -- sorted set: all messages, by the moment they expire, or earlier if claims prolong it
local BODIES = stem .. ':bodies' -- hash: message -> MessagePack of (moment of the post, client, ttl, headers, body)
local HOLDERS = stem .. ':holders' -- hash: message that was ever claimed -> see holder()
local CLAIMS = stem .. ':claims' -- hash: claim -> how many messages it holds:moment it began:ttl:lives until;
-- and claim:taken -> ids of the messages it took, by position, of which some may have left it
local ENDS = stem .. ':ends' -- sorted set: claims, by the moment they end
local DEDUP = stem .. ':dedup' -- hash: dedup id -> message
local DEDUP_ENDS = stem .. ':dedup-ends' -- sorted set: dedup ids, by the moment they are forgotten

local ID = 12 -- characters of an id
local TAKEN = ':taken'
local NO_CLAIM = string.rep('.', ID) -- which is no id
local CHUNK = 4000 -- arguments of one call; unpack fails at about 8 000
local SETTLED_PER_CALL = 1000
local MOST_BYTES = 64 * 1024 * 1024 -- of one reply, where it may be short
local CLOCK_KEPT = 86400000 -- milliseconds after which no position given lies behind the server's clock

-- last: the last position given, or at which time was seen to have changed something.
-- seen: the moment at which that was. offset: what makes a position of a moment.
-- due: nothing is changed by time before this moment.
local clock = redis.call('GET', CLOCK)
local last, seen, offset, due = 0, 0, 0, 0
if clock then
  local found = { pcall(cmsgpack.unpack, clock) }
  for index = 2, 5 do
    clock = type(found[index]) == 'number' and clock -- a damaged one is made again, like one that was evicted
  end
  if clock then
    last, seen, offset, due = unpack(found, 2, 5)
  end
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local went_back = now < seen
if went_back then
  offset = offset + seen - now
elseif not clock then -- unused for a day, evicted or damaged
  for _, key in ipairs({ ORDER, CLAIMED }) do
    last = math.max(last, redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] or 0)
  end
  offset = math.max(0, last - now)
end

local function keep_clock()
  local kept = CLOCK_KEPT + math.max(0, math.floor((last - now) / 1000))
  redis.call('SET', CLOCK, cmsgpack.pack(last, now, offset, due), 'PX', string.format('%.0f', kept))
end

local function next_position()
  last = math.max(now + offset, last + 1)
  return last
end

local function integer(number) -- tostring would round it
  return string.format('%.0f', number)
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

local function cut(list, count) -- keep the first count
  for index = #list, count + 1, -1 do
    list[index] = nil
  end
end

local function joined(firsts, seconds)
  local arguments = {}
  for index = 1, #seconds do
    arguments[2 * index - 1] = firsts[index]
    arguments[2 * index] = seconds[index]
  end
  return arguments
end

local function remove(messages, claimed) -- claimed: whether claims hold them; nil if that differs
  if claimed ~= true then
    change('ZREM', ORDER, messages)
    change('ZREM', DELAYED, messages)
  end
  if claimed ~= false then
    change('ZREM', CLAIMED, messages)
  end
  change('ZREM', EXPIRY, messages)
  change('HDEL', BODIES, messages)
  change('HDEL', HOLDERS, messages)
end

-- What is known of a message's claims: the one that holds it or NO_CLAIM, the moment until which claims let it live
-- (of which its own ttl knows nothing; the one that holds it may know better), and how many took it.
local function holder(claim, lives_until, count)
  return claim .. struct.pack('>I7', lives_until) .. count
end

local function lives_until_and_count(held)
  if #held < ID + 7 then -- damaged
    return 0, '0'
  end
  local lives_until, rest = struct.unpack('>I7', held, ID + 1)
  return lives_until, tonumber(string.sub(held, rest)) and string.sub(held, rest) or '0'
end

local function claim_lives_until(facts)
  return tonumber(string.match(facts, '%d+$'))
end

local function claims_of(holders) -- for each the facts of the claim that holds it, or false; empty if none is held
  local facts, some = {}, false
  for index = 1, #holders do
    local claim = holders[index] and string.sub(holders[index], 1, ID) or NO_CLAIM
    facts[index] = claim ~= NO_CLAIM and redis.call('HGET', CLAIMS, claim)
    some = some or facts[index]
  end
  return some and facts or {}
end

local function held_by(claim, messages) -- those of the messages that it holds, and what is known of their claims
  local holders = fetch('HMGET', HOLDERS, messages)
  local members, known = {}, {}
  for index = 1, #messages do
    if holders[index] and string.sub(holders[index], 1, ID) == claim then
      members[#members + 1] = messages[index]
      known[#known + 1] = holders[index]
    end
  end
  return members, known
end

local function leave_claim(messages, holders, lives_until, wakes) -- wakes: when each becomes active; nil for now
  local known = {}
  for index = 1, #messages do
    local earlier, count = lives_until_and_count(holders[index])
    known[2 * index - 1] = messages[index]
    known[2 * index] = holder(NO_CLAIM, math.max(earlier, lives_until), count)
  end
  local scores = wakes or fetch('ZMSCORE', CLAIMED, messages)
  change('ZREM', CLAIMED, messages)
  change('ZADD', wakes and DELAYED or ORDER, joined(scores, messages))
  change('HSET', HOLDERS, known)
end

local function members_of(claim, most) -- up to most of the messages that it took, and the rest as it is stored
  local stored = redis.call('HGET', CLAIMS, claim .. TAKEN)
  local members = {}
  for first = 1, math.min(#stored, most * ID), ID do
    members[#members + 1] = string.sub(stored, first, first + ID - 1)
  end
  return members, string.sub(stored, #members * ID + 1)
end

local function drop_claim(claim)
  redis.call('ZREM', ENDS, claim)
  redis.call('HDEL', CLAIMS, claim, claim .. TAKEN)
end

local function lessen_claim(claim, facts, count) -- count messages have left it
  local held, rest = string.match(facts, '^(%d+)(.*)$')
  if tonumber(held) > count then
    redis.call('HSET', CLAIMS, claim, (held - count) .. rest)
  else
    drop_claim(claim)
  end
end

local function first_score(key)
  local found = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return found[2] and tonumber(found[2]) or math.huge
end

-- Works in what time has changed, a bounded part of it. Says whether that was all, and how many messages expired.
local function settle()
  if now < due and not went_back then
    return true, 0
  end
  redis.call('PERSIST', CLOCK) -- a full server allows what needs memory only behind a change that does not
  local room = SETTLED_PER_CALL
  local expired = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, room)
  local holders = fetch('HMGET', HOLDERS, expired)
  local claims = claims_of(holders)
  local gone, prolonged = {}, {}
  for index = 1, #expired do
    local lives_until = holders[index] and lives_until_and_count(holders[index]) or 0
    if claims[index] then
      lives_until = math.max(lives_until, claim_lives_until(claims[index]))
    end
    if lives_until > now then
      prolonged[#prolonged + 1] = lives_until
      prolonged[#prolonged + 1] = expired[index]
    else
      gone[#gone + 1] = expired[index]
    end
  end
  remove(gone)
  change('ZADD', EXPIRY, prolonged)
  room = room - #expired
  local claim = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, 1)[1]
  while claim and room > 0 do
    local members, rest = members_of(claim, room)
    local held, known = held_by(claim, members)
    leave_claim(held, known, claim_lives_until(redis.call('HGET', CLAIMS, claim)))
    if rest == '' then
      drop_claim(claim)
    else
      redis.call('HSET', CLAIMS, claim .. TAKEN, rest)
    end
    room = room - #members
    claim = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, 1)[1]
  end
  local woken = room > 0 and redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'WITHSCORES', 'LIMIT', 0, room) or {}
  local active, positions = {}, {}
  for index = 1, #woken / 2 do
    active[index], positions[index] = woken[2 * index - 1], integer(woken[2 * index] + offset)
  end
  change('ZREM', DELAYED, active)
  change('ZADD', ORDER, joined(positions, active))
  room = room - #active
  if room > 0 then
    due = math.min(first_score(EXPIRY), first_score(ENDS), first_score(DELAYED))
  end
  if clock or due < math.huge then -- otherwise it was never posted to
    last = math.max(last, now + offset)
    keep_clock()
    went_back = false
  end
  return room > 0, #gone
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
