-- Takes a token from a bucket that holds as many as the limit and fills up in a minute. Returns whether there was one, as
-- 1 or 0, and how many are left, as a text.
-- KEYS  1 the bucket
-- ARGV  1 the limit
local time = redis.call('TIME')
local now, limit = time[1] + time[2] / 1e6, tonumber(ARGV[1])
local found = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = limit
if found[1] then left = math.min(limit, found[1] + (now - found[2]) * limit / 60) end
local allowed = left >= 1
if allowed then left = left - 1 end
redis.call('HSET', KEYS[1], 'left', string.format('%.17g', left), 'at', string.format('%.17g', now))
redis.call('EXPIRE', KEYS[1], 61)
return {allowed and 1 or 0, string.format('%.17g', left)}
