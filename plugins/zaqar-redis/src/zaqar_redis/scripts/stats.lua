-- Returns now; how many messages are active, claimed and delayed; id and moment of the post of the oldest and newest.
if not settle() then
  return false
end

local MOMENT, MOMENT_ENDS = 2, 10 -- of the post, in a body

local answer = { now, redis.call('ZCARD', ORDER), redis.call('ZCARD', CLAIMED), redis.call('ZCARD', DELAYED) }
for _, message in ipairs({ oldest(), newest() }) do
  local moment = string.sub(redis.call('HGET', BODIES, message), MOMENT, MOMENT_ENDS)
  answer[#answer + 1] = message
  answer[#answer + 1] = cmsgpack.unpack(moment)
end
return answer
