"""The load of a queue, for monitoring."""

import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from redis import Redis

from app.contract.lua_scripts import lua
from app.contract.queue.rq_compat import JOB_PREFIX, parse_time, queue_key, started_key


class Load(NamedTuple):
    """How much there is to do on a queue: jobs that wait, jobs that run, seconds that the oldest one has waited."""

    waiting: int
    running: int
    oldest_seconds: float


def load_of(redis: Redis, queue_name: str) -> Load:
    """Return how much waits and runs on a queue.

    Args:
        redis: client with byte replies.
        queue_name: of the queue.
    """
    keys = [queue_key(queue_name), started_key(queue_name)]
    found: Any = redis.eval(lua("read_load"), len(keys), *keys, str(time.time()), JOB_PREFIX)
    waiting, running, oldest = found
    waited = (datetime.now(UTC) - parse_time(oldest)).total_seconds() if oldest else 0.0
    return Load(waiting, running, max(0.0, waited))
