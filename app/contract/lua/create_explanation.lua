-- requires: create

-- Stores a new explanation. Returns what `create` does.
-- KEYS  those of `create`
-- ARGV  those of `create`
return create(KEYS, ARGV)
