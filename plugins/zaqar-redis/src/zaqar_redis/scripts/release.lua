-- ARGV: a claim's id; a delay; then 'all', or 'some' and ids. Returns how many messages it released.
if not settle() then
  return false
end

local claim, delay, all = ARGV[1], tonumber(ARGV[2]), ARGV[3] == 'all'
local facts = redis.call('HGET', CLAIMS, claim)
if not facts then
  return 0
end
local lives_until = claim_lives_until(facts)
local listed = {}
if all then
  listed = members_of(claim, math.huge)
else
  for index = 4, #ARGV do
    listed[#listed + 1] = ARGV[index]
  end
end
local released, holders = held_by(claim, listed)
if #released == 0 then
  return 0
end
if delay == 0 then
  leave_claim(released, holders, lives_until)
else
  local stood = fetch('ZMSCORE', CLAIMED, released)
  local order, positions = {}, {}
  for index = 1, #released do
    order[index] = index
  end
  table.sort(order, function(one, other)
    return tonumber(stood[one]) < tonumber(stood[other])
  end)
  last = math.max(now, last + 1) - 1
  for _, index in ipairs(order) do
    last = last + 1
    positions[index] = last + delay
  end
  leave_claim(released, holders, lives_until, positions)
  due = math.min(due, positions[order[1]])
  keep_clock()
end
if all then
  drop_claim(claim)
else
  lessen_claim(claim, facts, #released)
end
return #released
