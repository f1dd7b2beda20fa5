-- Puts off the end of an explanation that is there, and sets fields. Returns whether it is, as 1 or 0.
-- KEYS  1 record, 2 events, 3 tombstone, 4 explanations by the time when their blobs are due
-- ARGV  1 the new end as a JSON text, 2 seconds to live, 3 seconds remembered, 4 time due, 5 id,
--       6 and on: names and values of fields
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'expires_at', ARGV[1], unpack(ARGV, 6))
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[4], ARGV[4], ARGV[5])
return 1
