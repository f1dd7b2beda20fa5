-- Removes an explanation as if it had never been. Returns how many of its keys there were.
-- KEYS  1 record, 2 events, 3 tombstone, 4 explanations by the time when their blobs are due, 5 callbacks
-- ARGV  1 what the keys of tenants' explanations begin with, because the tombstone says whose it is; 2 id, 3 time due
local tenant = redis.call('GET', KEYS[3])
local existed = redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[5])
if tenant then redis.call('ZREM', ARGV[1] .. tenant, ARGV[2]) end
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[2])
redis.call('PUBLISH', KEYS[2], 'deleted')
return existed
