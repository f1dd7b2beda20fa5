-- Takes note of an explanation that has ended with so many blocks, if none of its kin that is still there has more.
--   kin       key of the kin
--   id        of the explanation
--   blocks    that it has
--   seconds   to live
--   records   what the keys of explanations begin with
local function remember_blocks(kin, id, blocks, seconds, records)
  local known = redis.call('HMGET', kin, 'blocks', 'explanation')
  local more = known[1] and tonumber(known[1]) > tonumber(blocks)
  if more and redis.call('EXISTS', records .. known[2]) == 1 then return end
  redis.call('HSET', kin, 'blocks', blocks, 'explanation', id)
  redis.call('EXPIRE', kin, seconds)
end
