-- Puts a job that has a hash into the queue where its turn is; returns how many stand before it. Looks from the end as far
-- as to the tenant's last job: because start tags of one tenant only grow, that is the one that counts, and the new job
-- stands behind it; so a queue that one tenant fills costs the same however long it is.
--   queue     key of the list
--   jobs      what the keys of jobs begin with
--   id        of the job
--   lane      1 goes before 2
--   tenant    who takes turns with others
--   seconds   estimated work
--   work      what it is, for later estimates
--   masks     how many it asks for
local PAGE = 50

local function take_place(queue, jobs, id, lane, tenant, seconds, work, masks)
  local size = redis.call('LLEN', queue)
  local names, lanes, starts, place, before, now, last = {}, {}, {}, size, 0, nil, nil
  while place > 0 and not last do
    if not names[place] then
      local from = math.max(1, place - PAGE + 1)
      for offset, name in ipairs(redis.call('LRANGE', queue, from - 1, place - 1)) do
        names[from + offset - 1] = name
      end
    end
    local turn = redis.call('HMGET', jobs .. names[place], 'lane', 'start', 'finish', 'tenant')
    lanes[place], starts[place] = tonumber(turn[1]) or 0, tonumber(turn[2]) or 0
    if lanes[place] == lane then
      now = math.min(now or starts[place], starts[place])
      if turn[4] == tenant then last = tonumber(turn[3]) end
    end
    place = place - 1
  end
  local start = last or now or 0

  for seen = size, place + 1, -1 do
    if lanes[seen] < lane or (lanes[seen] == lane and starts[seen] <= start) then
      before = seen
      break
    end
  end
  if before == size then
    redis.call('RPUSH', queue, id)
  elseif before > 0 then
    redis.call('LINSERT', queue, 'AFTER', names[before], id)
  else
    redis.call('LPUSH', queue, id)
  end
  redis.call('HSET', jobs .. id, 'lane', lane, 'tenant', tenant, 'start', string.format('%.17g', start),
    'finish', string.format('%.17g', start + seconds), 'work', work, 'masks', masks)
  return before
end
