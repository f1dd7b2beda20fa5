"""Losses of workers: any number of them, as long as the explanation comes further each time."""

import json

from redis import Redis
from rq import Queue

from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import RETRIES, JobQueue
from app.contract.queue.rq_compat import open_queue
from app.contract.schemas import Failure
from workers.supervision.retry_policy import AttemptLog

HUNG = Failure(code="timed-out", detail="it hung")


def lose(redis: Redis, queue: Queue, *, blocks: int) -> bool:
    """Let a worker take the job and be lost when so many blocks are stored; return whether the job waits again."""
    redis.lpop(queue.key)
    redis.hset("rq:job:abc", "status", "started")
    redis.zadd(queue.started_job_registry.key, {"abc:execution": 1})
    redis.hset("rise:explanation:abc", "state", json.dumps({"checkpoints": [{"count": 1}] * blocks}))
    AttemptLog(redis, queue.started_job_registry).reset_attempts_on_progress()
    queue.started_job_registry.cleanup()
    return redis.lrange(queue.key, 0, -1) == [b"abc"]


def test_an_explanation_that_comes_further_each_time_is_never_given_up(redis: Redis) -> None:
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    assert all(lose(redis, open_queue(redis, "q"), blocks=blocks) for blocks in range(1, 10))


def test_one_that_stays_where_it_is_is_given_up_after_its_attempts(redis: Redis) -> None:
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    queue = open_queue(redis, "q")
    assert [lose(redis, queue, blocks=0) for _ in range(RETRIES + 1)] == [True] * RETRIES + [False]


def test_one_that_gets_stuck_later_is_given_up_as_well(redis: Redis) -> None:
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    queue = open_queue(redis, "q")
    assert lose(redis, queue, blocks=3)
    assert [lose(redis, queue, blocks=3) for _ in range(RETRIES)] == [True] * (RETRIES - 1) + [False]


def test_what_is_known_to_have_hung_counts_however_far_it_came(redis: Redis) -> None:
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    queue = open_queue(redis, "q")
    for left in range(RETRIES + 1):
        AttemptLog(redis, queue.started_job_registry).record_failure("abc", str(left), HUNG)
    assert [lose(redis, queue, blocks=blocks) for blocks in range(1, RETRIES + 2)] == [True] * RETRIES + [False]


def test_what_was_lost_with_its_job_is_nobody_s_attempt(redis: Redis) -> None:
    queue = open_queue(redis, "q")
    redis.zadd(queue.started_job_registry.key, {"abc:execution": 1})
    redis.hset("rise:explanation:abc", "state", json.dumps({"checkpoints": [{"count": 1}]}))
    AttemptLog(redis, queue.started_job_registry).reset_attempts_on_progress()
    assert not redis.exists("rq:job:abc")
