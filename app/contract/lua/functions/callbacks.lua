-- Functions that put callbacks of an explanation into the outbox when it has ended.

-- Makes a callback due now.
--   callbacks   key of the explanation's callbacks
--   outbox      key of the outbox
--   delivery    the callback
--   event       how the explanation ended
--   ended       when, in ISO 8601
--   error       why it failed, as JSON; nil or false if it did not
--   seconds     to live for the callbacks
local function make_due(callbacks, outbox, delivery, event, ended, error, seconds)
  delivery.state, delivery.event, delivery.ended_at = 'due', event, ended
  if error then delivery.error = cjson.decode(error) end
  redis.call('HSET', callbacks, delivery.id, cjson.encode(delivery))
  redis.call('ZADD', outbox, redis.call('TIME')[1], delivery.explanation .. '/' .. delivery.id)
  redis.call('EXPIRE', callbacks, seconds)
end

-- Lets the callbacks of an explanation that has changed live as long as it does; at its end, makes them due.
--   record      key of the explanation
--   callbacks   key of its callbacks
--   outbox      key of the outbox
--   event       what has happened to it
--   now         in ISO 8601
--   seconds     for which it lives
--   tried       seconds for which a delivery is tried after the end
local function notify(record, callbacks, outbox, event, now, seconds, tried)
  if redis.call('TTL', callbacks) < tonumber(seconds) then redis.call('EXPIRE', callbacks, seconds) end
  if event ~= 'succeeded' and event ~= 'failed' and event ~= 'cancelled' then return end
  for _, text in ipairs(redis.call('HVALS', callbacks)) do
    local delivery = cjson.decode(text)
    if delivery.state == 'waiting' then
      make_due(callbacks, outbox, delivery, event, now, redis.call('HGET', record, 'error'), seconds + tried)
    end
  end
end
