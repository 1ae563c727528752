-- ARGV: limit. Returns now and, of the messages removed, ids, expiries, holders and bodies.
if not settle() then
  return false
end

local popped = redis.call('ZRANGEBYSCORE', ORDER, '-inf', now, 'LIMIT', 0, ARGV[1])
local count = fitting(popped)
for index = #popped, count + 1, -1 do
  popped[index] = nil
end
local expiries, holders = fetch('ZMSCORE', EXPIRY, popped), fetch('HMGET', HOLDERS, popped)
local bodies = fetch('HMGET', BODIES, popped)
remove(popped)
return { now, popped, expiries, holders, bodies }
