-- requires: callbacks

-- Registers a callback of an explanation; where that has ended, the callback is due at once. Returns 'new', 'known'
-- where the same URL waits already, 'full', or 'gone'.
-- KEYS  1 record, 2 its callbacks, 3 outbox
-- ARGV  1 delivery as JSON, 2 seconds to live, 3 most callbacks, 4 seconds for which a delivery is tried after the end
local status, delivery = redis.call('HGET', KEYS[1], 'status'), cjson.decode(ARGV[1])
if not status then return 'gone' end
for _, text in ipairs(redis.call('HVALS', KEYS[2])) do
  local other = cjson.decode(text)
  if other.state == 'waiting' and other.url == delivery.url then return 'known' end
end
if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[3]) then return 'full' end
if status == '"queued"' or status == '"running"' then
  redis.call('HSET', KEYS[2], delivery.id, ARGV[1])
  if redis.call('TTL', KEYS[2]) < tonumber(ARGV[2]) then redis.call('EXPIRE', KEYS[2], ARGV[2]) end
else
  local ended, error = cjson.decode(redis.call('HGET', KEYS[1], 'finished_at')), redis.call('HGET', KEYS[1], 'error')
  make_due(KEYS[2], KEYS[3], delivery, cjson.decode(status), ended, error, ARGV[2] + ARGV[4])
end
return 'new'
