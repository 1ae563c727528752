-- ARGV: ids. Returns now and, for each id, expiry, holder, body and the position in a claim.
if not settle() then
  return false
end
return {
  now,
  fetch('ZMSCORE', EXPIRY, ARGV),
  fetch('HMGET', HOLDERS, ARGV),
  fetch('HMGET', BODIES, ARGV),
  fetch('ZMSCORE', CLAIMED, ARGV),
}
