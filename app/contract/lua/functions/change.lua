-- requires: callbacks

-- Writes the fields of an explanation that have another value by now. Where its state is among them, the checkpoints that
-- are not are removed: they have been merged.
--   record      key of the explanation
--   arguments   names and values of fields, from `first` on
local function write_fields(record, arguments, first)
  local given, changed, merged = {}, {}, {}
  for at = first, #arguments, 2 do
    given[arguments[at]] = true
    if redis.call('HGET', record, arguments[at]) ~= arguments[at + 1] then
      table.insert(changed, arguments[at])
      table.insert(changed, arguments[at + 1])
    end
  end
  if #changed > 0 then redis.call('HSET', record, unpack(changed)) end
  if not given.state then return end
  for _, name in ipairs(redis.call('HKEYS', record)) do
    if string.sub(name, 1, 11) == 'checkpoint:' and not given[name] then table.insert(merged, name) end
  end
  if #merged > 0 then redis.call('HDEL', record, unpack(merged)) end
end

-- Changes an explanation, if it may be changed: puts off its end, and adds an entry to its events; at its end, makes its
-- callbacks due. Returns 1, or 0 where it is not there, has another status, or belongs to another execution.
--   keys        1 record, 2 events, 3 tombstone, 4 explanations by the time when their blobs are due, 5 callbacks,
--               6 outbox
--   arguments   1 id, 2 event, 3 allowed statuses as JSON texts separated by commas, 4 seconds to live, 5 seconds
--               remembered, 6 time due, 7 events kept, 8 data of the event, 9 execution as a JSON text, or '' for any,
--               10 the present time in ISO 8601, 11 seconds for which a callback is tried after the end, then names
--               and values of fields
local function change(keys, arguments)
  local status = redis.call('HGET', keys[1], 'status')
  if not status or not string.find(arguments[3], status, 1, true) then return 0 end
  if arguments[9] ~= '' and redis.call('HGET', keys[1], 'execution') ~= arguments[9] then return 0 end
  write_fields(keys[1], arguments, 12)
  if arguments[2] == 'running' then redis.call('HSETNX', keys[1], 'started_at', '"' .. arguments[10] .. '"') end
  redis.call('EXPIRE', keys[1], arguments[4])
  redis.call('XADD', keys[2], 'MAXLEN', '~', arguments[7], '*', 'event', arguments[2], 'data', arguments[8])
  redis.call('EXPIRE', keys[2], arguments[4])
  redis.call('EXPIRE', keys[3], arguments[5])
  redis.call('ZADD', keys[4], arguments[6], arguments[1])
  redis.call('EXPIRE', keys[4], arguments[5])
  redis.call('PUBLISH', keys[2], arguments[2])
  notify(keys[1], keys[5], keys[6], arguments[2], arguments[10], arguments[4], arguments[11])
  return 1
end
