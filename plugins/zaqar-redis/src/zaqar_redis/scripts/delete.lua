-- ARGV: how many claims are named, -1 if none had to be; those claims; ids.
-- Returns index and reason of each message refused.
local CLAIM_DOES_NOT_EXIST, CLAIM_DOES_NOT_MATCH, MESSAGE_IS_CLAIMED = 1, 2, 3

if not settle() then
  return false
end

local named = tonumber(ARGV[1])
local messages = {}
for index = 2 + math.max(named, 0), #ARGV do
  messages[#messages + 1] = ARGV[index]
end
local holders = fetch('HMGET', HOLDERS, messages)
local deleted, refused = {}, {}

local function refuse(index, reason)
  refused[#refused + 1] = index - 1
  refused[#refused + 1] = reason
end

if named < 0 then
  for index = 1, #messages do
    if holders[index] and string.sub(holders[index], 1, ID) ~= NO_CLAIM then
      refuse(index, MESSAGE_IS_CLAIMED)
    else
      deleted[#deleted + 1] = messages[index]
    end
  end
  remove(deleted, false)
  return refused
end

local facts, leaving, some_live = {}, {}, false -- of claims: what is known of them, how many messages leave them
for index = 2, 1 + named do
  local claim = ARGV[index]
  facts[claim], leaving[claim] = redis.call('HGET', CLAIMS, claim), 0
  some_live = some_live or facts[claim]
end
for index = 1, #messages do
  local claim = holders[index] and string.sub(holders[index], 1, ID)
  if claim and facts[claim] then
    deleted[#deleted + 1] = messages[index]
    leaving[claim] = leaving[claim] + 1
  elseif claim or redis.call('HEXISTS', BODIES, messages[index]) == 1 then
    refuse(index, some_live and CLAIM_DOES_NOT_MATCH or CLAIM_DOES_NOT_EXIST)
  end
end
remove(deleted, true)
for claim, count in pairs(leaving) do
  if count > 0 then
    lessen_claim(claim, facts[claim], count)
  end
end
return refused
