-- Takes an item of a batch off those that wait, and stores what came of it. Returns 1, or 0 where it does not wait.
-- KEYS  1 items, 2 waiting, 3 submitted
-- ARGV  1 index, 2 item as JSON, 3 its explanation, or ''
if redis.call('LREM', KEYS[2], 1, ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] ~= '' then redis.call('HSET', KEYS[3], ARGV[1], ARGV[3]) end
return 1
