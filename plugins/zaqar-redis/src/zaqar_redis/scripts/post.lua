-- ARGV: for each message its id, ttl, delay, dedup id ('' for none) and the MessagePack of client, headers, body.
-- Returns whether the queue is settled; index and id of each message that was there before.
local DEDUP_WINDOW = 300 * 1000000
local EACH = 5

local settled = settle()
local posted = now
local position = math.max(now, last + 1)
local array_of_four = string.char(0x94)
local head = array_of_four .. cmsgpack.pack(posted)
local order, expiry, bodies, known = {}, {}, {}, {}
local dedup, dedup_ends = {}, {}

local function earlier(dedup_id)
  local ends = redis.call('ZSCORE', DEDUP_ENDS, dedup_id)
  return dedup[dedup_id] or (ends and tonumber(ends) > now and redis.call('HGET', DEDUP, dedup_id))
end

for at = 1, #ARGV, EACH do
  local id, dedup_id = ARGV[at], ARGV[at + 3]
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
    order[#order + 1] = position + ARGV[at + 2]
    order[#order + 1] = id
    expiry[#expiry + 1] = posted + ARGV[at + 1]
    expiry[#expiry + 1] = id
    bodies[#bodies + 1] = id
    bodies[#bodies + 1] = head .. ARGV[at + 4]
    position = position + 1
  end
end

if #order > 0 then
  change('HSET', BODIES, bodies)
  change('ZADD', ORDER, order)
  change('ZADD', EXPIRY, expiry)
  keep_clock(position - 1)
end
if #dedup_ends > 0 then
  -- Two old ones go for each new one, so that they do not pile up although nobody collects garbage.
  local old = redis.call('ZRANGEBYSCORE', DEDUP_ENDS, '-inf', now, 'LIMIT', 0, #dedup_ends)
  change('ZREM', DEDUP_ENDS, old)
  change('HDEL', DEDUP, old)
  change('ZADD', DEDUP_ENDS, dedup_ends)
  local pairs_ = {}
  for dedup_id, id in pairs(dedup) do
    pairs_[#pairs_ + 1] = dedup_id
    pairs_[#pairs_ + 1] = id
  end
  change('HSET', DEDUP, pairs_)
end
return { settled and 1 or 0, known }
