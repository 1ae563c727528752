-- ARGV: 1 for the newest. Returns now, id, expiry, holder, body and whether it is claimed; now alone if there is none.
if not settle() then
  return false
end

local found = ARGV[1] == '1' and newest() or oldest()
if not found then
  return { now }
end
return {
  now,
  found,
  redis.call('ZSCORE', EXPIRY, found),
  redis.call('HGET', HOLDERS, found),
  redis.call('HGET', BODIES, found),
  redis.call('ZSCORE', CLAIMED, found),
}
