-- ARGV: a claim's id, ttl, grace. Returns whether there is that claim.
if not settle() then
  return false
end

local claim, ends = ARGV[1], now + ARGV[2]
local facts = redis.call('HGET', CLAIMS, claim)
if not facts then
  return 0
end
local lives_until = ends + ARGV[3]
local held = held_by(claim, redis.call('LRANGE', claim_list(claim), 0, -1))
local expiries = fetch('ZMSCORE', EXPIRY, held)
local prolonged = {}
for index = 1, #held do
  if tonumber(expiries[index]) < lives_until then
    prolonged[#prolonged + 1] = lives_until
    prolonged[#prolonged + 1] = held[index]
  end
end
redis.call('ZREM', ENDS, claim) -- so that the first change is one that a full server allows
redis.call('ZADD', ENDS, ends, claim)
redis.call('HSET', CLAIMS, claim, string.match(facts, '^%d+:') .. integer(now) .. ':' .. ARGV[2])
change('ZADD', EXPIRY, prolonged)
return 1
