-- Returns all that was delivered; the leader also says how far assistants may go. It asks ten times a second, so nothing is
-- written that changes nothing.
-- KEYS  1 shards, 2 delivered
-- ARGV  1 leader, 2 block up to which assistants go, 3 seconds to live
if redis.call('HGET', KEYS[1], 'leader') == ARGV[1] then
  if redis.call('HGET', KEYS[1], 'limit') ~= ARGV[2] then redis.call('HSET', KEYS[1], 'limit', ARGV[2]) end
  if redis.call('TTL', KEYS[1]) < ARGV[3] / 2 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
end
return redis.call('HVALS', KEYS[2])
