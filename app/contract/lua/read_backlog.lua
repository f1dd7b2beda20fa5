-- Returns id, work, masks of all jobs that wait, one after the other, and work, masks, progress of all that run; calls
-- have no work.
-- KEYS  1 queue, 2 started jobs
-- ARGV  1 now in seconds since 1970, 2 what the keys of jobs begin with, 3 what those of explanations begin with
local waiting, running = {}, {}
for _, id in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  local turn = redis.call('HMGET', ARGV[2] .. id, 'work', 'masks')
  for _, part in ipairs({id, turn[1] or '', turn[2] or '0'}) do table.insert(waiting, part) end
end
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[1], '+inf')) do
  local id = string.match(entry, '^[^:]+')
  local turn = redis.call('HMGET', ARGV[2] .. id, 'work', 'masks')
  local progress = redis.call('HGET', ARGV[3] .. id, 'progress')
  if turn[1] then
    for _, part in ipairs({turn[1], turn[2], progress or 'null'}) do table.insert(running, part) end
  end
end
return {waiting, running}
