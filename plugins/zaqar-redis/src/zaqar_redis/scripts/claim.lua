-- ARGV: a claim's id, ttl, grace, limit. Returns now and, of the messages taken, ids and, as they were before,
-- expiries, holders and bodies.
if not settle() then
  return false
end

local claim, ends = ARGV[1], now + ARGV[2]
local lives_until = ends + ARGV[3]
local taken, positions = split(redis.call('ZRANGEBYSCORE', ORDER, '-inf', now, 'WITHSCORES', 'LIMIT', 0, ARGV[4]))
if #taken == 0 then
  return { now, {} }
end
for index = #taken, fitting(taken) + 1, -1 do
  taken[index] = nil
end
change('ZREM', ORDER, taken)
change('ZADD', CLAIMED, joined(positions, taken))
local expiries, holders = fetch('ZMSCORE', EXPIRY, taken), fetch('HMGET', HOLDERS, taken)
local held, prolonged = {}, {}
for index = 1, #taken do
  local count = holders[index] and string.sub(holders[index], ID + 1) or 0
  held[2 * index - 1] = taken[index]
  held[2 * index] = claim .. integer(count + 1)
  if tonumber(expiries[index]) < lives_until then
    prolonged[#prolonged + 1] = lives_until
    prolonged[#prolonged + 1] = taken[index]
  end
end
change('HSET', HOLDERS, held)
change('ZADD', EXPIRY, prolonged)
change('RPUSH', claim_list(claim), taken)
redis.call('ZADD', ENDS, ends, claim)
redis.call('HSET', CLAIMS, claim, integer(#taken) .. ':' .. integer(now) .. ':' .. ARGV[2])
return { now, taken, expiries, holders, fetch('HMGET', BODIES, taken) }
