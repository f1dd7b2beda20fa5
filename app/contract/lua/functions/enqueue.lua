-- requires: take_place

-- Puts a job on a queue, or moves the one that is there to a better lane. Returns how many stand before it, STAYS where
-- it has not moved, or LEFT_OVER.
--   keys    1 queue, 2 all queues, 3 job, 4 record of the explanation
--   jobs    what the keys of jobs begin with
--   job     1 id, 2 lane, 3 tenant, 4 seconds, 5 work, 6 masks, then names and values of the fields of RQ
--   again   whether an earlier attempt has ended: a job that is there is then left as it is, and LEFT_OVER is returned,
--           because what RQ keeps of it is RQ's to remove
local STAYS, LEFT_OVER = -1, -2

local function enqueue(keys, jobs, job, again)
  local id, lane = job[1], tonumber(job[2])
  if redis.call('HEXISTS', keys[3], 'data') == 0 then  -- what a late heartbeat left behind is no job
    redis.call('SADD', keys[2], keys[1])
    redis.call('HSET', keys[3], unpack(job, 7))
  else
    if again then return LEFT_OVER end
    local present = tonumber(redis.call('HGET', keys[3], 'lane'))
    if present and present <= lane then return STAYS end
    if redis.call('LREM', keys[1], -1, id) == 0 then return STAYS end
    if lane == 1 and keys[4] and redis.call('HEXISTS', keys[4], 'status') == 1 then
      redis.call('HSET', keys[4], 'priority', '"interactive"')  -- which a job in the place of this one would have, too
    end
  end
  return take_place(keys[1], jobs, id, lane, job[3], job[4], job[5], job[6])
end
