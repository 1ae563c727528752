-- All or nothing: gives the keys their new values if each of them has the one expected.
--
-- KEYS[1] says whose the coordinator is: ARGV[1], or nothing is done. For each further KEYS[i], of ARGV three in a row:
-- the value expected ("" for none), the new one ("" for none), and for how many ms that is kept.
-- Returns 1 if it is so now; 0 if another value was found; -1 if the coordinator is another one. Values are never used
-- twice, so where all the new ones are there already this is a request sent again, and what it asks for is done.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return -1
end
local expected, done = true, true
for i = 2, #KEYS do
  local value = redis.call('GET', KEYS[i]) or ''
  expected = expected and value == ARGV[3 * i - 4]
  done = done and value == ARGV[3 * i - 3]
end
if done then
  return 1
end
if not expected then
  return 0
end
for i = 2, #KEYS do
  if ARGV[3 * i - 3] == '' then
    redis.call('DEL', KEYS[i])
  else
    redis.call('SET', KEYS[i], ARGV[3 * i - 3], 'PX', ARGV[3 * i - 2])
  end
end
return 1
