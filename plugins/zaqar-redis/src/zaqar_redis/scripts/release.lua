-- ARGV: a claim's id; a delay; then 'all', or 'some' and ids. Returns how many messages it released.
if not settle() then
  return false
end

local claim, delay, all = ARGV[1], tonumber(ARGV[2]), ARGV[3] == 'all'
if redis.call('HEXISTS', CLAIMS, claim) == 0 then
  return 0
end
local listed = {}
if all then
  listed = redis.call('LRANGE', claim_list(claim), 0, -1)
else
  for index = 4, #ARGV do
    listed[#listed + 1] = ARGV[index]
  end
end
local released, positions = held_by(claim, listed)
change('ZREM', CLAIMED, released)
if delay > 0 then
  local old = {}
  for index = 1, #released do
    old[released[index]] = tonumber(positions[index])
  end
  table.sort(released, function(one, other)
    return old[one] < old[other]
  end)
  local position = math.max(now, last + 1)
  for index = 1, #released do
    positions[index] = position + index - 1 + delay
  end
  if #released > 0 then
    keep_clock(position + #released - 1)
  end
end
change('ZADD', ORDER, joined(positions, released))
if all then
  drop_claim(claim)
elseif #released > 0 then
  lessen_claim(claim, #released)
end
return #released
