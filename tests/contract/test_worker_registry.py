from redis import Redis

from app.contract.redis.keys import WORKERS
from app.contract.schemas import Announcement
from app.contract.worker_registry import announce, announcements


def of(worker: str) -> Announcement:
    return Announcement(worker=worker, version="1", queue="default", device="cpu", models=[], methods=[], fills=[])


def test_workers_are_known_to_readers_of_a_server_that_accepts_no_writes(redis: Redis) -> None:
    announce(redis, of("one"), seconds=600)
    redis.config_set("min-replicas-to-write", 1)
    try:
        assert announcements(redis) == [of("one")]
    finally:
        redis.config_set("min-replicas-to-write", 0)


def test_a_worker_that_is_late_is_not_named_and_the_next_one_forgets_it(redis: Redis) -> None:
    announce(redis, of("late"), seconds=-1)
    assert announcements(redis) == []
    announce(redis, of("one"), seconds=600)
    assert announcements(redis) == [of("one")]
    assert redis.zrange(WORKERS, 0, -1) == [b"one"]
