-- Returns now; how many messages are active, claimed and delayed; id and moment of the post of the oldest and newest.
if not settle() then
  return false
end

local free = redis.call('ZCOUNT', ORDER, '-inf', now)
local answer = { now, free, redis.call('ZCARD', CLAIMED), redis.call('ZCARD', ORDER) - free }
for _, message in ipairs({ oldest(), newest() }) do
  answer[#answer + 1] = message
  answer[#answer + 1] = integer(cmsgpack.unpack(string.sub(redis.call('HGET', BODIES, message), 2, 10)))
end
return answer
