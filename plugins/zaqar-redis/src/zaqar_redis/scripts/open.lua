-- KEYS[1]: the key of the layout's version. ARGV: the version that this driver makes. Returns the one that is there.
-- Uses every command that the other scripts use, so that a user without the right to one of them learns it now, and
-- not when half of a change is made. Starts with one that a full server allows.
local key = KEYS[1] .. ':check'
local call = redis.call

call('UNLINK', key)
call('TIME')
call('SET', key, 1, 'PX', 1000)
call('GET', key)
call('PERSIST', key)
call('UNLINK', key)

call('ZADD', key, 1, 'a')
call('ZSCORE', key, 'a')
call('ZMSCORE', key, 'a')
call('ZCARD', key)
call('ZLEXCOUNT', key, '-', '+')
call('ZRANGE', key, 0, 0)
call('ZREVRANGE', key, 0, 0)
call('ZRANGEBYSCORE', key, 1, 1)
call('ZRANGEBYLEX', key, '-', '+')
call('ZREM', key, 'a')

call('HSET', key, 'a', 1)
call('HSETNX', key, 'a', 1)
call('HGET', key, 'a')
call('HMGET', key, 'a')
call('HEXISTS', key, 'a')
call('HSTRLEN', key, 'a')
call('HDEL', key, 'a')

call('SET', KEYS[1], ARGV[1], 'NX')
return call('GET', KEYS[1])
