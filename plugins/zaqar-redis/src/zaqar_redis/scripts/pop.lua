-- ARGV: limit. Returns now and, of the messages removed, ids, holders and bodies.
if not settle() then
  return false
end

local popped = redis.call('ZRANGE', ORDER, 0, ARGV[1] - 1)
cut(popped, fitting(popped))
local holders, bodies = fetch('HMGET', HOLDERS, popped), fetch('HMGET', BODIES, popped)
remove(popped, false)
return { now, popped, holders, bodies }
