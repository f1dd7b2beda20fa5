-- A queue of items that are leased: one that is not acknowledged is due again when its lease has run out.
-- KEYS  1 sorted set: items by when they are due, in seconds since 1970; 2 hash that holds the content of an item, where
--       items have content
-- ARGV  1 'lease', 2 how many, 3 seconds of the lease. Returns item and token, item and token, ...
-- ARGV  1 'write', 2 item, 3 token of its lease, or '' for whatever state it is in, 4 seconds until it is due again, ''
--       to remove it, or 'leased' to change nothing about that, 5 field of its content, 6 content, or '' for what it has,
--       7 seconds for which both keys live from now on, or ''. Returns 0 where the lease is over or the content gone.
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000

if ARGV[1] == 'lease' then
  local leased = {}
  for _, item in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])) do
    redis.call('ZADD', KEYS[1], now + ARGV[3], item)
    table.insert(leased, item)
    table.insert(leased, redis.call('ZSCORE', KEYS[1], item))  -- the end of a lease tells it from other leases
  end
  return leased
end

local item, token, due, field, content, lifetime = unpack(ARGV, 2)
if token ~= '' then
  if redis.call('ZSCORE', KEYS[1], item) ~= token then return 0 end
  if KEYS[2] and redis.call('HEXISTS', KEYS[2], field) == 0 then
    redis.call('ZREM', KEYS[1], item)
    return 0
  end
end
if due == '' then
  redis.call('ZREM', KEYS[1], item)
elseif due ~= 'leased' then
  redis.call('ZADD', KEYS[1], now + due, item)
end
if KEYS[2] and content ~= '' then
  redis.call('HSET', KEYS[2], field, content)
elseif KEYS[2] and due == '' then
  redis.call('HDEL', KEYS[2], field)
end
if lifetime ~= '' then
  for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, lifetime) end
end
return 1
