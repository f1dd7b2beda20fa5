import json
import logging
import time
import zlib
from functools import partial
from typing import Any

import pytest
from redis import Redis
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from rq import Retry, SimpleWorker
from rq.executions import Execution
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import EXPLAIN, PREDICT, JobQueue
from app.contract.queue.rq_compat import job_class, open_queue
from app.contract.redis.client import connect
from app.explanations.worker_calls import poll_result


def run_worker(redis: Redis, calls: list[object]) -> None:
    jobs = job_class({EXPLAIN: calls.append, PREDICT: lambda *given: dict(zip(given[::2], given[1::2], strict=True))})
    queue = open_queue(redis, "q", jobs)
    SimpleWorker([queue], connection=redis, job_class=jobs, serializer=JSONSerializer).work(burst=True)


@pytest.mark.parametrize("name", ["subprocess.check_output", "os.system", "workers.tasks.explain", "builtins.eval"])
def test_a_worker_runs_no_function_that_is_not_on_its_list(redis: Redis, name: str, tmp_path: object) -> None:
    mark = f"{tmp_path}/ran"
    job = open_queue(redis, "q").enqueue_call(name, args=(f"touch {mark}",))
    run_worker(redis, [])
    assert job.get_status(refresh=True).value == "failed"
    assert "PermissionError" in str(job.latest_result().exc_string)  # type: ignore[union-attr]


def test_callbacks_that_stand_in_a_job_s_hash_are_never_imported(redis: Redis) -> None:
    calls: list[object] = []
    job = open_queue(redis, "q").enqueue_call(EXPLAIN, args=("id",))
    redis.hset(job.key, mapping={"success_callback_name": "os.abort", "failure_callback_name": "os.abort"})
    run_worker(redis, calls)
    assert calls == ["id"]


def test_the_queue_carries_an_id_as_json_and_nothing_else(redis: Redis) -> None:
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    data: bytes = redis.hget("rq:job:abc", "data")  # type: ignore[assignment]
    assert json.loads(zlib.decompress(data)) == ["explain", None, ["abc"], {}]


def test_a_job_is_what_rq_itself_would_have_written(redis: Redis) -> None:
    queue = open_queue(redis, "q")
    theirs = queue.create_job(
        EXPLAIN,
        args=("abc",),
        job_id="abc",
        timeout=60,
        result_ttl=0,
        failure_ttl=600,
        retry=Retry(max=2, enqueue_at_front=True),
    )
    JobQueue(redis, timeout_seconds=60).enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    ours, known = redis.hgetall("rq:job:abc"), redis.smembers("rq:queues")
    redis.flushall()
    queue.enqueue_job(theirs)
    written = redis.hgetall("rq:job:abc")
    own = {b"lane", b"tenant", b"start", b"finish", b"work", b"masks"}
    changing = {b"created_at", b"enqueued_at"}
    assert ours.keys() == written.keys() | own
    assert {name: ours[name] for name in written.keys() - changing} == {
        name: written[name] for name in written.keys() - changing
    }
    assert known == redis.smembers("rq:queues")


def test_a_connection_that_breaks_after_a_job_is_enqueued_enqueues_it_once(
    valkey: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = iter([True])

    class Breaking(UnixDomainSocketConnection):
        def read_response(self, *given: Any, **named: Any) -> Any:
            answer = super().read_response(*given, **named)
            if redis.exists("rq:job:abc") and next(broken, False):
                raise RedisConnectionError("gone")
            return answer

    with connect(valkey) as client:
        jobs = JobQueue(client, timeout_seconds=60)
        monkeypatch.setattr(client.connection_pool, "connection_class", Breaking)
        jobs.enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
        assert not next(broken, False)
    assert redis.lrange("rq:queue:q", 0, -1) == [b"abc"]


def test_an_explanation_is_on_the_queue_once_however_often_it_is_asked_for(redis: Redis) -> None:
    jobs, calls = JobQueue(redis, timeout_seconds=60), []  # type: ignore[var-annotated]
    for _ in range(3):
        jobs.enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    jobs.enqueue_explanation("q", "def", again=False, tags=SchedulingTags("public"))
    assert (jobs.position("q", "abc"), jobs.position("q", "def"), jobs.position("q", "no")) == (0, 1, None)
    run_worker(redis, calls)
    assert calls == ["abc", "def"]
    jobs.enqueue_explanation("q", "abc", again=True, tags=SchedulingTags("public"))
    run_worker(redis, calls)
    assert calls == ["abc", "def", "abc"]


def test_a_removed_explanation_does_not_run(redis: Redis) -> None:
    jobs, calls = JobQueue(redis, timeout_seconds=60), []  # type: ignore[var-annotated]
    jobs.enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    jobs.remove("abc")
    jobs.remove("never-there")
    run_worker(redis, calls)
    assert calls == []


def lose_worker(redis: Redis, name: str) -> None:
    """Leave a job as a worker leaves it that was lost: RQ forgets what an execution was before it forgets its name."""
    job = open_queue(redis, "q").fetch_job(name)
    assert job is not None
    with redis.pipeline() as pipeline:
        execution = Execution.create(job, 60, pipeline)
        job.set_status(JobStatus.STARTED, pipeline=pipeline)
        pipeline.lrem("rq:queue:q", 0, job.id)
        pipeline.delete(execution.key)
        pipeline.execute()


def test_an_explanation_whose_worker_was_lost_can_be_taken_back(redis: Redis) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    jobs.enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    lose_worker(redis, "abc")
    jobs.remove("abc")
    assert redis.keys("rq:*abc*") == []
    assert redis.zcard("rq:wip:q") == 0


def test_a_job_that_a_worker_was_lost_with_ends_when_another_has_done_it(redis: Redis) -> None:
    jobs, calls = JobQueue(redis, timeout_seconds=60), []  # type: ignore[var-annotated]
    jobs.enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    lose_worker(redis, "abc")
    open_queue(redis, "q").started_job_registry.cleanup(time.time() + 120)
    run_worker(redis, calls)
    assert calls == ["abc"]
    assert redis.keys("rq:job:*") == []


def test_the_last_heartbeat_of_a_worker_that_comes_too_late_is_not_taken_for_a_job(redis: Redis) -> None:
    jobs, calls = JobQueue(redis, timeout_seconds=60), []  # type: ignore[var-annotated]
    redis.hset("rq:job:abc", "last_heartbeat", "2026-11-26T10:00:00Z")
    jobs.enqueue_explanation("q", "abc", again=True, tags=SchedulingTags("public"))
    run_worker(redis, calls)
    assert calls == ["abc"]


def test_what_is_asked_in_turn_is_a_job_as_rq_itself_writes_it_and_forgotten_as_soon(redis: Redis) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    asked = [jobs.ask("q", PREDICT, "a", seconds=30, tags=tags) for tags in (None, SchedulingTags("a"))]
    theirs, ours = (redis.hgetall(job.key) for job in asked)
    assert ours.keys() == theirs.keys() | {b"lane", b"tenant", b"start", b"finish", b"work", b"masks"}
    changing = {b"created_at", b"enqueued_at"}
    assert all(ours[name] == theirs[name] for name in theirs.keys() - changing)
    assert all(50 < redis.ttl(job.key) <= 60 for job in asked)
    assert redis.smembers("rq:queues") == {b"rq:queue:q"}


@pytest.mark.parametrize("tags", [None, SchedulingTags("a")])
def test_what_was_asked_is_answered_once_a_worker_has_done_it(redis: Redis, tags: SchedulingTags | None) -> None:
    asked = JobQueue(redis, timeout_seconds=60).ask("q", PREDICT, "found", 1, seconds=30, tags=tags)
    assert poll_result(asked) is None
    run_worker(redis, [])
    assert poll_result(asked) == {"found": 1}


@pytest.mark.parametrize("tags", [None, SchedulingTags("a")])
def test_what_nobody_waits_for_any_more_does_not_run(redis: Redis, tags: SchedulingTags | None) -> None:
    jobs, calls = JobQueue(redis, timeout_seconds=60), []  # type: ignore[var-annotated]
    removed, forgotten = (jobs.ask("q", EXPLAIN, name, seconds=30, tags=tags) for name in ("removed", "forgotten"))
    jobs.remove(removed.id)
    assert redis.lrange("rq:queue:q", 0, -1) == [forgotten.id.encode()]
    redis.delete(forgotten.key)  # as it is after a minute, if whoever asked could not remove it
    run_worker(redis, calls)
    assert calls == []
    assert redis.keys("rq:job:*") == []


def test_what_is_removed_while_it_runs_ends_and_leaves_nothing_for_good(redis: Redis) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    asked = jobs.ask("q", EXPLAIN, "a", seconds=30)
    run_worker(redis, Removing(jobs, asked.id))
    left = [key for key in redis.scan_iter("rq:*") if asked.id.encode() in key]
    assert all(0 < redis.ttl(key) <= 60 for key in left), left
    assert redis.zcard("rq:wip:q") == redis.llen("rq:queue:q") == 0


class Removing(list[object]):
    """Stands for a job that is removed while it runs."""

    def __init__(self, jobs: JobQueue, job_id: str) -> None:
        super().__init__()
        self._remove = partial(jobs.remove, job_id)

    def append(self, _: object) -> None:
        self._remove()


def test_the_load_of_a_queue_tells_the_longest_wait_and_not_the_first_one_s(redis: Redis) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    jobs.enqueue_explanation("q", "patient", again=False, tags=SchedulingTags("public", priority="batch"))
    time.sleep(0.3)
    jobs.enqueue_explanation("q", "quick", again=False, tags=SchedulingTags("public"))
    assert open_queue(redis, "q").job_ids == ["quick", "patient"]
    load = jobs.load("q")
    assert (load.waiting, load.running) == (2, 0)
    assert 0.3 <= load.oldest_seconds < 30


def test_whoever_looks_at_the_load_takes_no_job_from_a_lost_worker(redis: Redis) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    jobs.enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    redis.lpop("rq:queue:q")
    started = open_queue(redis, "q").started_job_registry.key
    redis.zadd(started, {"abc:lost": time.time() - 1, "def:alive": time.time() + 60})
    assert jobs.load("q") == (0, 1, 0.0)
    assert redis.zcard(started) == 2
    assert redis.llen("rq:queue:q") == 0


def test_a_job_that_is_removed_while_it_runs_ends_without_a_word(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = JobQueue(redis, timeout_seconds=60)
    runs = job_class({EXPLAIN: jobs.remove})
    jobs.enqueue_explanation("q", "abc", again=False, tags=SchedulingTags("public"))
    queue = open_queue(redis, "q", runs)
    assert SimpleWorker([queue], connection=redis, job_class=runs, serializer=JSONSerializer).work(burst=True)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not redis.exists("rq:job:abc")
    assert queue.started_job_registry.get_job_count(cleanup=False) == 0
    assert queue.failed_job_registry.get_job_count(cleanup=False) == 0
