-- Gives jobs whose worker was lost all their attempts again, if their explanation had come further since the loss before,
-- and nobody noted why the attempt ended. How far it was at the last loss stands in the job's own hash and goes with it.
-- KEYS  1 started jobs
-- ARGV  1 now in seconds since 1970, 2 attempts that a job has after a loss, 3 what notes begin with, 4 what the keys of
--       jobs begin with, 5 what those of explanations begin with
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])) do
  local id = string.match(entry, '^[^:]+')
  local job, state = ARGV[4] .. id, redis.call('HGET', ARGV[5] .. id, 'state')
  local noted = redis.call('HEXISTS', job, ARGV[3] .. (redis.call('HGET', job, 'retries_left') or '')) == 1
  if state and not noted and redis.call('HEXISTS', job, 'data') == 1 then
    local blocks = 0
    for _, checkpoint in ipairs(cjson.decode(state)['checkpoints']) do blocks = blocks + checkpoint['count'] end
    if blocks > (tonumber(redis.call('HGET', job, 'blocks_at_loss')) or 0) then
      redis.call('HSET', job, 'retries_left', ARGV[2], 'blocks_at_loss', blocks)
      for left = 0, tonumber(ARGV[2]) do redis.call('HDEL', job, ARGV[3] .. left) end
    end
  end
end
