-- Takes the next blocks that nobody has taken. Returns the first block and how many; of 0 blocks there may be more later,
-- and -1 says that it is over.
-- KEYS  1 shards, 2 delivered, 3 record
-- ARGV  1 how many blocks, 2 block up to which, or '' for the limit, 3 status of what runs as a JSON text, 4 seconds to
--       live
local found = redis.call('HMGET', KEYS[1], 'next', 'limit')
if not found[1] or redis.call('HGET', KEYS[3], 'status') ~= ARGV[3] then return {0, -1} end
local first, stop = tonumber(found[1]), tonumber(ARGV[2]) or tonumber(found[2])
local there = redis.call('HGET', KEYS[2], first)
while there do
  first = first + cjson.decode(there).size
  there = redis.call('HGET', KEYS[2], first)
end
local count = math.max(0, math.min(tonumber(ARGV[1]), stop - first))
if first + count ~= tonumber(found[1]) then redis.call('HSET', KEYS[1], 'next', first + count) end
if redis.call('TTL', KEYS[1]) < ARGV[4] / 2 then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return {first, count}
