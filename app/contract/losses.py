"""Which losses of a worker count against the explanation that it ran.

An explanation that ends its workers must not end one after the other for ever: after a few attempts it fails. But one
that had come further before its worker was lost has not done it, and begins to count anew: where machines come and go,
a long explanation may lose any number of workers. What is known to have hung, or to have broken its device, counts
always.
"""

import time
from typing import Any

from redis import Redis
from rq.registry import StartedJobRegistry

from app.contract.queue import RETRIES

NOTE = "ended:"
"""Field of a job's hash, followed by the retries that were left: why an attempt ended, where somebody could say so."""

# KEYS: started jobs. ARGV: now, attempts that a job has after a loss, what notes begin with. How far an explanation was
# at the last loss stands in its job's own hash and goes with it.
_FORGIVE = """
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])) do
  local id = string.match(entry, '^[^:]+')
  local job, state = 'rq:job:' .. id, redis.call('HGET', 'rise:explanation:' .. id, 'state')
  local noted = redis.call('HEXISTS', job, ARGV[3] .. (redis.call('HGET', job, 'retries_left') or '')) == 1
  if state and not noted and redis.call('HEXISTS', job, 'data') == 1 then
    local blocks = 0
    for _, checkpoint in ipairs(cjson.decode(state)['checkpoints']) do blocks = blocks + checkpoint['count'] end
    if blocks > (tonumber(redis.call('HGET', job, 'blocks_at_loss')) or 0) then
      redis.call('HSET', job, 'retries_left', ARGV[2], 'blocks_at_loss', blocks)
      for left = 0, tonumber(ARGV[2]) do redis.call('HDEL', job, ARGV[3] .. left) end
    end
  end
end
"""


def forgive(redis: Redis, started: StartedJobRegistry) -> None:
    """Give jobs whose worker was lost all attempts again, if they had come further since the loss before.

    Call it before the registry is cleaned up.
    """
    arguments: list[Any] = [time.time(), RETRIES, NOTE]
    redis.eval(_FORGIVE, 1, started.key, *arguments)
