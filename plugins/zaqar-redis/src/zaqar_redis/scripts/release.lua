-- ARGV: a claim's id; a delay; then 'all', or 'some' and ids. Returns how many messages it released; -1, and released
-- none, if one of them would expire before the delay is over.
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
  local expiry, order, wakes = fetch('ZMSCORE', EXPIRY, released), {}, {}
  for index = 1, #released do
    order[index] = index
  end
  table.sort(order, function(one, other)
    return tonumber(stood[one]) < tonumber(stood[other])
  end)
  for _, index in ipairs(order) do
    wakes[index] = next_position() - offset + delay
    local extended = math.max(lives_until, (lives_until_and_count(holders[index])))
    if wakes[index] >= math.max(tonumber(expiry[index]), extended) then
      return -1
    end
  end
  leave_claim(released, holders, lives_until, wakes)
  due = math.min(due, wakes[order[1]])
  keep_clock()
end
if all then
  drop_claim(claim)
else
  lessen_claim(claim, facts, #released)
end
return #released
