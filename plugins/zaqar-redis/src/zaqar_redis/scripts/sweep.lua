-- ARGV: the token of a purge. Removes some of the claims' lists that it left. Returns how many.
local purged = stem .. ':purged:' .. ARGV[1]
local claims = redis.call('ZRANGE', purged, 0, SETTLED_PER_CALL - 1)
local lists = {}
for index = 1, #claims do
  lists[index] = claim_list(claims[index])
end
if #claims > 0 then
  redis.call('UNLINK', unpack(lists))
  redis.call('ZREM', purged, unpack(claims))
end
return #claims
