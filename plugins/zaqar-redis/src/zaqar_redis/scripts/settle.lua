-- Returns whether the queue is settled, and how many messages and dedup ids are gone.
local settled, gone = settle()
local forgotten = redis.call('ZRANGEBYSCORE', DEDUP_ENDS, '-inf', now, 'LIMIT', 0, SETTLED_PER_CALL)
change('ZREM', DEDUP_ENDS, forgotten)
change('HDEL', DEDUP, forgotten)
return { settled and #forgotten < SETTLED_PER_CALL and 1 or 0, gone + #forgotten }
