-- Takes an explanation that is gone out of every list. Returns 1, or 0 where it is there again.
-- KEYS  1 record, 2 tombstone, 3 explanations by the time when their blobs are due
-- ARGV  1 what the keys of tenants' explanations begin with, because the tombstone says whose it was; 2 id
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local tenant = redis.call('GET', KEYS[2])
if tenant then redis.call('ZREM', ARGV[1] .. tenant, ARGV[2]) end
redis.call('ZREM', KEYS[3], ARGV[2])
return 1
