-- Lets a key stand for a payload. Returns nil where it stands for another one, else the explanation that came of it, ''
-- while there is none.
-- KEYS  1 the key
-- ARGV  1 payload, 2 seconds for which a claim lives
local payload = redis.call('HGET', KEYS[1], 'payload')
if payload and payload ~= ARGV[1] then return false end
if not payload then
  redis.call('HSET', KEYS[1], 'payload', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return redis.call('HGET', KEYS[1], 'explanation') or ''
