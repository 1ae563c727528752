-- ARGV: limit. Returns now and, of the messages removed, ids, holders and bodies.
if not settle() then
  return false
end

local popped = redis.call('ZRANGEBYSCORE', ORDER, '-inf', now, 'LIMIT', 0, ARGV[1])
cut(popped, fitting(popped))
local holders, bodies = fetch('HMGET', HOLDERS, popped), fetch('HMGET', BODIES, popped)
remove(popped, ORDER)
return { now, popped, holders, bodies }
