-- In front of scripts that ask for the first or last message by position, among active and claimed ones.
local function oldest() -- nil if there is none
  local free = redis.call('ZRANGE', ORDER, 0, 0, 'WITHSCORES')
  local held = redis.call('ZRANGE', CLAIMED, 0, 0, 'WITHSCORES')
  if free[1] and held[1] then
    return tonumber(held[2]) < tonumber(free[2]) and held[1] or free[1]
  end
  return free[1] or held[1]
end

local function newest()
  local free = redis.call('ZREVRANGE', ORDER, 0, 0, 'WITHSCORES')
  local held = redis.call('ZREVRANGE', CLAIMED, 0, 0, 'WITHSCORES')
  if free[1] and held[1] then
    return tonumber(held[2]) > tonumber(free[2]) and held[1] or free[1]
  end
  return free[1] or held[1]
end
