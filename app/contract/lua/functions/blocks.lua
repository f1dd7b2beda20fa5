-- Takes note of an explanation that has ended with so many blocks, if none with the same masks that is still there has more.
--   entry     key of the reuse index's entry for these masks
--   id        of the explanation
--   blocks    that it has
--   seconds   to live
--   records   what the keys of explanations begin with
local function remember_blocks(entry, id, blocks, seconds, records)
  local known = redis.call('HMGET', entry, 'blocks', 'explanation')
  local more = known[1] and tonumber(known[1]) > tonumber(blocks)
  if more and redis.call('EXISTS', records .. known[2]) == 1 then return end
  redis.call('HSET', entry, 'blocks', blocks, 'explanation', id)
  redis.call('EXPIRE', entry, seconds)
end
