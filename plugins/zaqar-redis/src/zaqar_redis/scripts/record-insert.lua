-- ARGV: key, version, value, ttl ('' for none). Returns whether it was stored.
if not settle() then
  return false
end
local key = ARGV[1]
if redis.call('HSETNX', VERSIONS, key, ARGV[2]) == 0 then
  return 0
end
redis.call('HSET', VALUES, key, ARGV[3])
redis.call('ZADD', NAMES, 0, key)
if ARGV[4] ~= '' then
  redis.call('ZADD', ENDS, now + ARGV[4], key)
end
return 1
