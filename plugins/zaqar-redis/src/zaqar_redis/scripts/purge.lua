-- Empties the queue; the server frees the memory in the background.
-- The clock stays for a while: what is posted next comes behind every marker given.
redis.call('UNLINK', ORDER, DELAYED, CLAIMED, EXPIRY, BODIES, HOLDERS, CLAIMS, ENDS, DEDUP, DEDUP_ENDS)
return 1
