-- ARGV: for each message its id, ttl, delay, dedup id ('' for none), and the MessagePack of client, ttl, headers, body.
-- Returns whether the queue is settled; index and id of each message that was there before.
local DEDUP_WINDOW = 300 * 1000000
local EACH = 5

local array_of_five = string.char(0x95)
local head = array_of_five .. cmsgpack.pack(now)
local order, delayed, expiry, bodies, known = {}, {}, {}, {}, {}
local dedup, dedup_ends, moments = {}, {}, {}

local function earlier(dedup_id)
  local ends = redis.call('ZSCORE', DEDUP_ENDS, dedup_id)
  return dedup[dedup_id] or (ends and tonumber(ends) > now and redis.call('HGET', DEDUP, dedup_id))
end

local function expiry_of(ttl) -- as text, which is slow to make; a batch has few different ttls
  local expires = now + ttl
  due = math.min(due, expires)
  moments[ttl] = integer(expires)
  return moments[ttl]
end

local count, active = 0, 0
for at = 1, #ARGV, EACH do
  local id, ttl, delay, dedup_id, body = unpack(ARGV, at, at + EACH - 1)
  local first = dedup_id ~= '' and earlier(dedup_id)
  if first then
    known[#known + 1] = (at - 1) / EACH
    known[#known + 1] = first
  else
    if dedup_id ~= '' then
      dedup[dedup_id] = id
      dedup_ends[#dedup_ends + 1] = integer(now + DEDUP_WINDOW)
      dedup_ends[#dedup_ends + 1] = dedup_id
    end
    local position = count == 0 and next_position() or last + 1
    last = position
    local one, two = 2 * count + 1, 2 * count + 2
    if delay == '0' then
      order[2 * active + 1], order[2 * active + 2] = position, id
      active = active + 1
      expiry[one] = moments[ttl] or expiry_of(ttl)
    else
      local wakes = position - offset + delay
      due = math.min(due, wakes)
      delayed[#delayed + 1], delayed[#delayed + 2] = wakes, id
      expiry[one] = wakes - delay + ttl -- or the last ones of a large batch might expire before they wake
    end
    expiry[two] = id
    bodies[one], bodies[two] = id, head .. body
    count = count + 1
  end
end

if count > 0 then
  change('HSET', BODIES, bodies) -- which a full server refuses
  change('ZADD', ORDER, order)
  change('ZADD', DELAYED, delayed)
  change('ZADD', EXPIRY, expiry)
  keep_clock()
end
if #dedup_ends > 0 then
  -- Two old ones go for each new one, so that they do not pile up without gc.
  local old = redis.call('ZRANGEBYSCORE', DEDUP_ENDS, '-inf', now, 'LIMIT', 0, #dedup_ends)
  change('ZREM', DEDUP_ENDS, old)
  change('HDEL', DEDUP, old)
  change('ZADD', DEDUP_ENDS, dedup_ends)
  local messages = {}
  for dedup_id, id in pairs(dedup) do
    messages[#messages + 1] = dedup_id
    messages[#messages + 1] = id
  end
  change('HSET', DEDUP, messages)
end
return { settle() and 1 or 0, known }
