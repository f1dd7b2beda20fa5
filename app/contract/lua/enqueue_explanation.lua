-- requires: enqueue

-- Puts an explanation on a queue, or moves its job. Returns what `enqueue` does.
-- KEYS  those of `enqueue`
-- ARGV  1 what the keys of jobs begin with, 2 'again' where an earlier attempt has ended, then the job
return enqueue(KEYS, ARGV[1], {unpack(ARGV, 3)}, ARGV[2] == 'again')
