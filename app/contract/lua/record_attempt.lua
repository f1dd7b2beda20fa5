-- Writes down why an attempt at a job ended, if the job is still there: a hash of notes alone would pass for a job.
-- KEYS  1 job
-- ARGV  1 field, 2 why
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
