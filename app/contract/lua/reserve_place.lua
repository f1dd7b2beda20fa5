-- Keeps one of the places of an API key for an explanation. Returns 1, or 0 where all are taken. What has ended is found
-- out here, when it matters, and not where it ends: no process has to live long enough to report it.
-- KEYS  1 the explanations of the key by when their place was reserved
-- ARGV  1 explanation, 2 how many places there are, 3 now in seconds since 1970, 4 seconds for which a place is kept, 5
--       what the keys of explanations begin with, 6 seconds for which all of it is kept
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local status = redis.call('HGET', ARGV[5] .. id, 'status')
  local pending = status == '"queued"' or status == '"running"'
  local coming = not status and redis.call('ZSCORE', KEYS[1], id) + ARGV[4] > tonumber(ARGV[3])
  if id ~= ARGV[1] and not pending and not coming then redis.call('ZREM', KEYS[1], id) end
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[6])
return 1
