-- ARGV: a claim's id. Returns now, its facts and, of the messages it holds, ids, holders and bodies, which fit into a
-- reply since they did when they were claimed.
if not settle() then
  return false
end

local facts = redis.call('HGET', CLAIMS, ARGV[1])
if not facts then
  return { now }
end
local held, holders = held_by(ARGV[1], (members_of(ARGV[1], math.huge)))
return { now, facts, held, holders, fetch('HMGET', BODIES, held) }
