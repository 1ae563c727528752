-- ARGV: key, version, new version, value. Returns whether it was stored.
if not settle() then
  return false
end
local key = ARGV[1]
if redis.call('HGET', VERSIONS, key) ~= ARGV[2] then
  return 0
end
redis.call('HSET', VERSIONS, key, ARGV[3])
redis.call('HSET', VALUES, key, ARGV[4])
return 1
