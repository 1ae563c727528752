-- ARGV: ids. Returns now and, for each id, holder, facts of the claim that holds it, and body; bodies that would make
-- the reply too large are left out at the end.
if not settle() then
  return false
end
local holders = fetch('HMGET', HOLDERS, ARGV)
local wanted = {}
for index = 1, fitting(ARGV) do
  wanted[index] = ARGV[index]
end
return { now, holders, claims_of(holders), fetch('HMGET', BODIES, wanted) }
