-- ARGV: a key. Returns version and value, or nothing.
if not settle() then
  return false
end
return { redis.call('HGET', VERSIONS, ARGV[1]), redis.call('HGET', VALUES, ARGV[1]) }
