-- ARGV: a token. Empties the queue. Returns whether lists of claims are left, which sweep.lua removes by the token.
-- The clock stays for a while: what is posted next comes behind every marker given.
redis.call('UNLINK', ORDER, CLAIMED, EXPIRY, BODIES, HOLDERS, CLAIMS, DEDUP, DEDUP_ENDS)
if redis.call('EXISTS', ENDS) == 0 then
  return 0
end
redis.call('RENAME', ENDS, stem .. ':purged:' .. ARGV[1])
return 1
