-- ARGV: bounds of the keys as ZRANGEBYLEX takes them. Deletes a bounded part of them; returns how many that were, and
-- whether there are more.
if not settle() then
  return false
end
local keys = redis.call('ZRANGEBYLEX', NAMES, ARGV[1], ARGV[2], 'LIMIT', 0, SETTLED_PER_CALL)
remove(keys)
return { #keys, #keys == SETTLED_PER_CALL and 1 or 0 }
