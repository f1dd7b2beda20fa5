-- requires: create
-- requires: enqueue

-- Stores a new explanation and puts it on its queue; one that is there already and waits may move to a better lane.
-- Returns what `create` and `enqueue` do.
-- KEYS  1-5 those of `create`, 6-8 the first three of `enqueue`, of which the fourth is 1
-- ARGV  1 arguments of `create` as a JSON array of texts, 2 the job but for its last value, likewise, because two long
--       texts are sent at a fraction of what a hundred short ones take; 3 that value, which is no text, 4 what the keys
--       of jobs begin with
local created = create(KEYS, cjson.decode(ARGV[1]))
local job = cjson.decode(ARGV[2])
table.insert(job, ARGV[3])
return {created, enqueue({KEYS[6], KEYS[7], KEYS[8], KEYS[1]}, ARGV[4], job, created == 1)}
