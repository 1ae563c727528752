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
local claimed = fetch('ZMSCORE', CLAIMED, messages)
local deleted, refused = {}, {}

local function refuse(index, reason)
  refused[#refused + 1] = index - 1
  refused[#refused + 1] = reason
end

if named < 0 then
  for index = 1, #messages do
    if claimed[index] then
      refuse(index, MESSAGE_IS_CLAIMED)
    else
      deleted[#deleted + 1] = messages[index]
    end
  end
  remove(deleted)
  return refused
end

local leaving, some_live = {}, false -- claim -> how many messages leave it
for index = 2, 1 + named do
  if redis.call('HEXISTS', CLAIMS, ARGV[index]) == 1 then
    leaving[ARGV[index]], some_live = 0, true
  end
end
local holders = fetch('HMGET', HOLDERS, messages)
for index = 1, #messages do
  local holder = claimed[index] and string.sub(holders[index], 1, ID)
  if holder and leaving[holder] then
    deleted[#deleted + 1] = messages[index]
    leaving[holder] = leaving[holder] + 1
  elseif holder or redis.call('ZSCORE', ORDER, messages[index]) then
    refuse(index, some_live and CLAIM_DOES_NOT_MATCH or CLAIM_DOES_NOT_EXIST)
  end
end
remove(deleted)
for claim, count in pairs(leaving) do
  if count > 0 then
    lessen_claim(claim, count)
  end
end
return refused
