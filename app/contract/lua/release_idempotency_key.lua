-- Forgets a claim of which nothing came.
-- KEYS  1 the key
if redis.call('HEXISTS', KEYS[1], 'explanation') == 0 then redis.call('DEL', KEYS[1]) end
