-- ARGV: bounds of the keys as ZLEXCOUNT takes them. Returns how many there are.
if not settle() then
  return false
end
return redis.call('ZLEXCOUNT', NAMES, ARGV[1], ARGV[2])
