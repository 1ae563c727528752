-- In front of every script on records. KEYS[1] is the space's stem. Moments are milliseconds since 1970.
local stem = KEYS[1]
local NAMES = stem .. ':names' -- sorted set: keys of records, in the order of their bytes
local VERSIONS = stem .. ':versions' -- hash: key -> version
local VALUES = stem .. ':values' -- hash: key -> MessagePack of nonce and value
local ENDS = stem .. ':ends' -- sorted set: keys of records with a ttl, by the moment they end

local SETTLED_PER_CALL = 1000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function remove(keys)
  if #keys > 0 then
    redis.call('ZREM', NAMES, unpack(keys))
    redis.call('ZREM', ENDS, unpack(keys))
    redis.call('HDEL', VERSIONS, unpack(keys))
    redis.call('HDEL', VALUES, unpack(keys))
  end
end

-- Removes what has ended, a bounded part of it. Says whether that was all, and how many records it was.
local function settle()
  local ended = redis.call('ZRANGEBYSCORE', ENDS, '-inf', now, 'LIMIT', 0, SETTLED_PER_CALL)
  remove(ended)
  return #ended < SETTLED_PER_CALL, #ended
end
