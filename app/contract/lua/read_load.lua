-- Returns how many jobs wait, how many run, and when the one was enqueued that has waited longest, which need not be the
-- first. It only looks: RQ's own count of what runs takes jobs from lost workers, and who does that has more to see to.
-- KEYS  1 queue, 2 started jobs
-- ARGV  1 now in seconds since 1970, 2 what the keys of jobs begin with
local oldest = ''
local waiting = redis.call('LRANGE', KEYS[1], 0, -1)
for _, id in ipairs(waiting) do
  local since = redis.call('HGET', ARGV[2] .. id, 'enqueued_at')
  if since and (oldest == '' or since < oldest) then oldest = since end
end
return {#waiting, redis.call('ZCOUNT', KEYS[2], ARGV[1], '+inf'), oldest}
