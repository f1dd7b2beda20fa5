"""The registry of workers in Redis: each renews an announcement that expires; the front end reads them."""

import time
from typing import Any

from redis import Redis

from app.contract.redis.keys import WORKERS, worker_key
from app.contract.schemas import Announcement, read_all


def announce(redis: Redis, announcement: Announcement, *, seconds: float) -> None:
    """Store what a worker serves; it expires after `seconds`."""
    now = time.time()
    with redis.pipeline() as pipeline:
        pipeline.zremrangebyscore(WORKERS, 0, now)
        pipeline.zadd(WORKERS, {announcement.worker: now + seconds})
        pipeline.set(worker_key(announcement.worker), announcement.model_dump_json(), px=max(1, round(seconds * 1000)))
        pipeline.execute()


def withdraw(redis: Redis, worker: str) -> None:
    """Delete the announcement of a worker that shuts down."""
    with redis.pipeline() as pipeline:
        pipeline.zrem(WORKERS, worker)
        pipeline.delete(worker_key(worker))
        pipeline.execute()


def announcements(redis: Redis) -> list[Announcement]:
    """Return the announcements of live workers, by their names."""
    names: Any = redis.zrange(WORKERS, f"({time.time()}", "+inf", byscore=True)
    workers = sorted(name.decode() for name in names)
    found: Any = redis.mget([worker_key(worker) for worker in workers]) if workers else []
    return read_all(Announcement, (text for text in found if text is not None))
