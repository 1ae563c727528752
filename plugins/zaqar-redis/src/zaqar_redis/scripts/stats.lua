-- Returns now; how many messages are active, claimed and delayed; id and moment of the post of the oldest and newest.
if not settle() then
  return false
end

local MOMENT, MOMENT_ENDS = 2, 10 -- of the post, in a body

local answer = { now, redis.call('ZCARD', ORDER), redis.call('ZCARD', CLAIMED), redis.call('ZCARD', DELAYED) }
for _, message in ipairs({ oldest(), newest() }) do
  local body = redis.call('HGET', BODIES, message) or ''
  local readable, moment = pcall(cmsgpack.unpack, string.sub(body, MOMENT, MOMENT_ENDS))
  answer[#answer + 1] = message
  answer[#answer + 1] = readable and type(moment) == 'number' and moment or now -- the body may be damaged
end
return answer
