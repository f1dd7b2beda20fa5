-- requires: enqueue

-- Puts a call on a queue, for which somebody waits.
-- KEYS  those of `enqueue`; there is no record
-- ARGV  1 what the keys of jobs begin with, 2 seconds after which the call is forgotten, then the job
enqueue(KEYS, ARGV[1], {unpack(ARGV, 3)})
redis.call('EXPIRE', KEYS[3], ARGV[2])
