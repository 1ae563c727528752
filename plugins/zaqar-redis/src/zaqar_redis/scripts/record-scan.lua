-- ARGV: bounds of the keys as ZRANGEBYLEX takes them, limit. Returns keys, versions, values.
if not settle() then
  return false
end
local keys = redis.call('ZRANGEBYLEX', NAMES, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local versions, values = {}, {}
for index = 1, #keys do
  versions[index] = redis.call('HGET', VERSIONS, keys[index])
  values[index] = redis.call('HGET', VALUES, keys[index])
end
return { keys, versions, values }
