-- Stores a new explanation unless the same one is queued, running or succeeded; returns whether it did, as 1 or 0.
--   keys        1 record, 2 events, 3 tombstone, 4 explanations by the time when their blobs are due, 5 the tenant's
--               explanations by the microsecond of their creation
--   arguments   1 id, 2 tenant, 3 microsecond of creation, or '' for what is in no list, 4 seconds to live, 5 seconds
--               remembered, 6 time due, 7 events kept, 8 data of the event, then names and values of fields
local function create(keys, arguments)
  local status = redis.call('HGET', keys[1], 'status')
  if status and (status == '"queued"' or status == '"running"' or status == '"succeeded"') then return 0 end
  redis.call('SET', keys[3], arguments[2], 'EX', arguments[5])  -- first, because a full server refuses this, and no DEL
  redis.call('DEL', keys[1], keys[2])
  redis.call('HSET', keys[1], unpack(arguments, 9))
  redis.call('EXPIRE', keys[1], arguments[4])
  redis.call('XADD', keys[2], 'MAXLEN', '~', arguments[7], '*', 'event', 'queued', 'data', arguments[8])
  redis.call('EXPIRE', keys[2], arguments[4])
  redis.call('ZADD', keys[4], arguments[6], arguments[1])
  redis.call('EXPIRE', keys[4], arguments[5])
  if arguments[3] ~= '' then
    redis.call('ZADD', keys[5], arguments[3], arguments[1])
    redis.call('EXPIRE', keys[5], arguments[5])
  end
  redis.call('PUBLISH', keys[2], 'queued')
  return 1
end
