-- ARGV: key, version ('' for any). Returns whether it was deleted.
if not settle() then
  return false
end
local version = redis.call('HGET', VERSIONS, ARGV[1])
if not version or (ARGV[2] ~= '' and version ~= ARGV[2]) then
  return 0
end
remove({ ARGV[1] })
return 1
