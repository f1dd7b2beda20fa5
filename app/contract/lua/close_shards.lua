-- Hands out nothing any more, unless somebody else leads.
-- KEYS  1 shards, 2 delivered
-- ARGV  1 leader
if redis.call('HGET', KEYS[1], 'leader') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end
