-- requires: change

-- Changes an explanation that goes on. Returns what `change` does.
-- KEYS  those of `change`
-- ARGV  those of `change`
return change(KEYS, ARGV)
