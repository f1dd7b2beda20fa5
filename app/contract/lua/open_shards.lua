-- Hands out blocks of an explanation from now on.
-- KEYS  1 shards
-- ARGV  1 leader, 2 first block, 3 block up to which assistants go, 4 aim, 5 seconds to live
redis.call('HSET', KEYS[1], 'leader', ARGV[1], 'next', ARGV[2], 'limit', ARGV[3], 'aim', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
