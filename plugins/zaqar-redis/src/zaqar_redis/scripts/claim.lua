-- ARGV: a claim's id, ttl, grace, limit, how often a message may be claimed (0: any number of times). Returns now and,
-- of the messages taken, ids, holders as they were before, and bodies.
-- Small sorted sets and hashes are listpacks, searched from the front: slow beyond a few dozen entries, and converted
-- only at some hundreds. One long member forces the conversion, which is permanent.
local FEW, LONG = 32, string.rep('.', 65)

if not settle() then
  return false
end

local claim, ends = ARGV[1], now + ARGV[2]
local lives_until = ends + ARGV[3]
local found = redis.call('ZRANGE', ORDER, 0, ARGV[4] - 1, 'WITHSCORES')
if #found == 0 then
  return { now, {} }
end
local taken, positions = {}, {}
for index = 1, #found / 2 do
  taken[index], positions[index] = found[2 * index - 1], found[2 * index]
end
cut(taken, fitting(taken))

local holders = fetch('HMGET', HOLDERS, taken)
local tries = tonumber(ARGV[5])
if tries > 1 then -- a message with one try left is taken alone, so that it cannot use up the tries of others
  local healthy = false
  for index = 1, #taken do
    local count = 0
    if holders[index] then
      count = tonumber(select(2, lives_until_and_count(holders[index])))
    end
    if count == tries - 1 then
      local last_taken = healthy and index - 1 or index
      cut(taken, last_taken)
      cut(holders, last_taken)
      break
    end
    healthy = healthy or count < tries
  end
end
local held_first_time = holder(claim, lives_until, 1)
local held = {}
for index = 1, #taken do
  local known = held_first_time
  if holders[index] then
    local earlier, count = lives_until_and_count(holders[index])
    known = holder(claim, math.max(earlier, lives_until), count + 1)
  end
  held[2 * index - 1], held[2 * index] = taken[index], known
end
local before = redis.call('ZCARD', CLAIMED)
change('ZREM', ORDER, taken) -- first, because a full server allows it, and then the rest
change('ZADD', CLAIMED, joined(positions, taken))
change('HSET', HOLDERS, held)
if before <= FEW and before + #taken > FEW then
  redis.call('ZADD', CLAIMED, 0, LONG)
  redis.call('ZREM', CLAIMED, LONG)
  redis.call('HSET', HOLDERS, LONG, '')
  redis.call('HDEL', HOLDERS, LONG)
end
redis.call('ZADD', ENDS, ends, claim)
local facts = #taken .. ':' .. integer(now) .. ':' .. ARGV[2] .. ':' .. integer(lives_until)
redis.call('HSET', CLAIMS, claim, facts, claim .. TAKEN, table.concat(taken))
if ends < due then
  due = ends
  keep_clock()
end
return { now, taken, holders, fetch('HMGET', BODIES, taken) }
