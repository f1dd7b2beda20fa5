"""How much there is to do on a queue, for whoever watches the service."""

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis import Redis
from rq.utils import utcparse

# KEYS: queue, started jobs. ARGV: now. Returns how many wait, how many run, and when the one was enqueued that has
# waited longest, which need not be the first. It only looks: RQ's own count of what runs takes jobs from lost workers,
# and who does that has more to see to.
_LOAD = """
local oldest = ''
local waiting = redis.call('LRANGE', KEYS[1], 0, -1)
for _, id in ipairs(waiting) do
  local since = redis.call('HGET', 'rq:job:' .. id, 'enqueued_at')
  if since and (oldest == '' or since < oldest) then oldest = since end
end
return {#waiting, redis.call('ZCOUNT', KEYS[2], ARGV[1], '+inf'), oldest}
"""


class Load(NamedTuple):
    """How much there is to do on a queue: jobs that wait, jobs that run, seconds that the oldest one has waited."""

    waiting: int
    running: int
    oldest_seconds: float


def load_of(redis: Redis, queue_key: str, started_key: str) -> Load:
    """Return how much waits and runs on a queue.

    Args:
        redis: client with byte replies.
        queue_key: of RQ's list of waiting jobs.
        started_key: of RQ's registry of running ones.
    """
    found: Any = redis.eval(_LOAD, 2, queue_key, started_key, str(time.time()))
    waiting, running, oldest = found
    waited = (datetime.now(UTC) - utcparse(oldest.decode())).total_seconds() if oldest else 0.0
    return Load(waiting, running, max(0.0, waited))
