-- Remembers what came of a payload, unless the key stands for another one.
-- KEYS  1 the key
-- ARGV  1 payload, 2 explanation, 3 seconds to live
local payload = redis.call('HGET', KEYS[1], 'payload')
if payload and payload ~= ARGV[1] then return end
redis.call('HSET', KEYS[1], 'payload', ARGV[1], 'explanation', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
