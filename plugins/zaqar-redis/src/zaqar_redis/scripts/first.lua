-- ARGV: 1 for the newest. Returns now, id, holder, claim's facts and body; now alone if there is none.
if not settle() then
  return false
end

local found = ARGV[1] == '1' and newest() or oldest()
if not found then
  return { now }
end
local known = redis.call('HGET', HOLDERS, found)
return { now, found, known, claims_of({ known })[1] or false, redis.call('HGET', BODIES, found) }
