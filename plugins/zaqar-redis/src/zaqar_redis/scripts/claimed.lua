-- ARGV: a claim's id. Returns now, its facts and, of the messages it holds, ids, expiries, holders and bodies.
if not settle() then
  return false
end

local facts = redis.call('HGET', CLAIMS, ARGV[1])
if not facts then
  return { now }
end
local held = held_by(ARGV[1], redis.call('LRANGE', claim_list(ARGV[1]), 0, -1))
return {
  now,
  facts,
  held,
  fetch('ZMSCORE', EXPIRY, held),
  fetch('HMGET', HOLDERS, held),
  fetch('HMGET', BODIES, held),
}
