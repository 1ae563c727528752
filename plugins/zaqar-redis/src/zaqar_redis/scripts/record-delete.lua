-- ARGV: key, version ('' for any). Returns whether it was deleted.
if not settle() then
  return false
end
local version = redis.call('HGET', VERSIONS, ARGV[1])
local named = version or redis.call('ZSCORE', NAMES, ARGV[1]) -- one that lost its version is damaged, and listed
if not named or (ARGV[2] ~= '' and version ~= ARGV[2]) then
  return 0
end
remove({ ARGV[1] })
return 1
