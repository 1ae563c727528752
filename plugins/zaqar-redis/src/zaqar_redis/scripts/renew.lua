-- ARGV: a claim's id, ttl, grace. Returns whether there is that claim.
-- Its messages learn of their longer life when they leave it.
if not settle() then
  return false
end

local claim, ends = ARGV[1], now + ARGV[2]
local facts = redis.call('HGET', CLAIMS, claim)
if not facts then
  return 0
end
local count = string.match(facts, '^%d+')
local lives_until = math.max(claim_lives_until(facts), ends + ARGV[3])
redis.call('ZREM', ENDS, claim) -- first, because a full server allows it, and then the rest
redis.call('ZADD', ENDS, ends, claim)
redis.call('HSET', CLAIMS, claim, count .. ':' .. integer(now) .. ':' .. ARGV[2] .. ':' .. integer(lives_until))
if ends < due then
  due = ends
  keep_clock()
end
return 1
