"""RQ does what it does not promise: each test here fails where a release changes what `rq_compat` relies on."""

import inspect
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from rq import Queue, Retry, SimpleWorker, Worker
from rq.exceptions import AbandonedJobError, InvalidJobOperation
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from app.contract.queue.rq_compat import (
    JOB_PREFIX,
    QUEUES_KEY,
    AllowedJob,
    answer_call,
    attempts_left,
    expire_execution,
    fields_of_call,
    flat,
    is_abandoned,
    is_tried_again,
    job_class,
    job_exists,
    job_fields,
    job_key,
    make_last_attempt,
    open_queue,
    parse_time,
    queue_key,
    read_worker_state,
    requeue_abandoned,
    started_key,
    stop_after_job,
    take_failed,
)

RETRY = Retry(max=2, enqueue_at_front=True)


def a_queue(redis: Redis, **functions: Callable[..., Any]) -> Queue:
    return open_queue(redis, "q", job_class(functions))


def a_worker(queue: Queue, kind: type[SimpleWorker] = SimpleWorker, **options: Any) -> SimpleWorker:
    return kind(
        [queue], name="w", connection=queue.connection, job_class=queue.job_class, serializer=JSONSerializer, **options
    )


def the_job(queue: Queue, job_id: str = "one") -> Job:
    job = queue.fetch_job(job_id)
    assert job is not None
    return job


def lose(queue: Queue, job: Job) -> Execution:
    """Let a worker take the only job of a queue and be lost."""
    queue.connection.delete(queue.key)
    with queue.connection.pipeline() as pipeline:
        job.set_status(JobStatus.STARTED, pipeline=pipeline)
        execution = Execution.create(job, 60, pipeline)
        pipeline.execute()
    expire_execution(queue.connection, queue.started_job_registry, execution)
    return execution


def test_keys_are_where_rq_puts_them(redis: Redis) -> None:
    queue = a_queue(redis)
    job = queue.enqueue_call("f", job_id="one")
    assert (job_key("one"), queue_key("q"), started_key("q")) == (job.key, queue.key, queue.started_job_registry.key)
    assert job.key == f"{JOB_PREFIX}one"
    assert redis.smembers(QUEUES_KEY) == {queue.key.encode()}
    assert redis.lrange(queue.key, 0, -1) == [b"one"]


def test_a_job_is_a_hash_with_these_fields(redis: Redis) -> None:
    queue = a_queue(redis)
    job = queue.enqueue_call("f", job_id="one", retry=RETRY)
    fields: Any = redis.hgetall(job.key)
    assert job_exists(redis, "one")
    assert not job_exists(redis, "two")
    assert datetime.now(UTC) - parse_time(fields[b"enqueued_at"]) < timedelta(minutes=1)
    assert int(fields[b"retries_left"]) == 2
    assert is_tried_again(the_job(queue))
    assert not is_tried_again(queue.enqueue_call("f", job_id="two"))


def test_a_job_whose_hash_was_written_by_hand_runs(redis: Redis) -> None:
    calls: list[Any] = []
    queue = a_queue(redis, f=lambda *arguments: calls.append(arguments))
    form = {name: value for name, value in job_fields(queue.create_job("g", job_id="x")).items() if name != "data"}
    redis.hset(job_key("one"), items=list(flat({**form, **fields_of_call("f", "a", 1)})))
    redis.rpush(queue_key("q"), "one")
    job = the_job(queue)
    assert (job.func_name, tuple(job.args), job.get_call_string()) == ("f", ("a", 1), "f('a', 1)")
    a_worker(queue).work(burst=True)
    assert calls == [("a", 1)]


def test_what_is_written_by_hand_is_what_rq_writes(redis: Redis) -> None:
    queue = a_queue(redis)
    job = queue.create_job("f", args=("a",), job_id="one")
    mine = {**job_fields(job), **fields_of_call("f", "a")}
    queue.enqueue_job(job)
    written: Any = redis.hgetall(job.key)
    changing = {b"created_at", b"enqueued_at"}
    redis.hset("mine", items=list(flat(mine)))
    read: Any = redis.hgetall("mine")
    assert read.keys() == written.keys()
    assert {name: read[name] for name in read.keys() - changing} == {
        name: written[name] for name in read.keys() - changing
    }


def test_fields_that_rq_does_not_know_survive_an_attempt(redis: Redis) -> None:
    queue = a_queue(redis, f=lambda: 1 / 0)
    queue.enqueue_call("f", job_id="one", retry=RETRY)
    redis.hset(job_key("one"), mapping={"lane": "1", "ended:2": "why"})
    a_worker(queue).work(burst=True, max_jobs=1)
    assert redis.hmget(job_key("one"), "lane", "ended:2", "retries_left") == [b"1", b"why", b"1"]


def test_workers_take_from_the_left_end_of_the_list_and_retries_come_back_there(redis: Redis) -> None:
    calls: list[str] = []

    def f(name: str) -> Retry | None:
        calls.append(name)
        return Retry(max=9, enqueue_at_front=True) if len(calls) == 1 else None

    queue = a_queue(redis, f=f)
    for name in ("a", "b"):
        queue.enqueue_call("f", args=(name,), job_id=name)
    a_worker(queue).work(burst=True)
    assert calls == ["a", "a", "b"]


def test_what_runs_is_known_by_job_and_execution_until_its_next_heartbeat_is_overdue(redis: Redis) -> None:
    seen: list[Any] = []
    queue = a_queue(redis, f=lambda: seen.extend(redis.zrange(started_key("q"), 0, -1, withscores=True)))
    queue.enqueue_call("f", job_id="one")

    class Soon(SimpleWorker):
        def get_heartbeat_ttl(self, *_: Any, **__: Any) -> int:
            return 7

    a_worker(queue, Soon).work(burst=True)
    ((entry, overdue),) = seen
    assert entry.decode().partition(":")[0] == "one"
    assert abs(overdue - time.time() - 7) < 60
    assert redis.zcard(started_key("q")) == 0


def test_heartbeats_can_be_sent_from_beside_a_job(redis: Redis) -> None:
    scores: list[Any] = []

    class Beating(SimpleWorker):
        def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
            redis.zadd(started_key("q"), {execution.composite_key: 5})
            self.maintain_heartbeats(job, execution)
            scores.append(redis.zscore(started_key("q"), execution.composite_key))
            return super().perform_job(job, queue, execution)

    queue = a_queue(redis, f=lambda: None)
    queue.enqueue_call("f", job_id="one")
    a_worker(queue, Beating).work(burst=True)
    assert len(scores) == 1
    assert scores[0] > time.time()


def test_a_worker_says_whether_it_is_idle(redis: Redis) -> None:
    states: list[Any] = []

    def read() -> None:
        with redis.pipeline(transaction=False) as pipeline:
            read_worker_state(pipeline, "w")
            states.extend(pipeline.execute())

    queue = a_queue(redis, f=read)
    queue.enqueue_call("f")
    worker = a_worker(queue)
    worker.work(burst=True)
    worker.set_state("idle")
    read()
    assert states == [b"busy", b"idle"]


def test_a_job_of_a_lost_worker_comes_back_with_one_attempt_less_and_fails_after_the_last(redis: Redis) -> None:
    queue, told = a_queue(redis), []

    def handler(job: Job, kind: type[BaseException], error: BaseException, _: object) -> None:
        told.append((job.id, kind, type(error), attempts_left(job)))

    job = queue.enqueue_call("f", job_id="one", retry=RETRY)
    worker = a_worker(queue)
    for left in (2, 1, 0):
        lose(queue, the_job(queue))
        requeue_abandoned(queue, worker, [handler])
        assert told.pop() == ("one", AbandonedJobError, AbandonedJobError, left)
        assert redis.lrange(queue.key, 0, -1) == ([b"one"] if left else [])
    result = job.latest_result()
    assert result is not None
    assert is_abandoned(result)
    assert [(job_id, failed is not None) for job_id, failed in take_failed(queue)] == [("one", True)]
    assert not job_exists(redis, "one")
    assert list(take_failed(queue)) == []


def test_a_failed_job_that_is_gone_is_forgotten(redis: Redis) -> None:
    queue = a_queue(redis, f=lambda: 1 / 0)
    queue.enqueue_call("f", job_id="one")
    a_worker(queue).work(burst=True)
    redis.delete(job_key("one"))
    assert list(take_failed(queue)) == [("one", None)]
    assert list(take_failed(queue)) == []


def test_a_failed_job_of_whose_execution_only_the_name_is_left_is_forgotten(redis: Redis) -> None:
    queue = a_queue(redis, f=lambda: 1 / 0)
    job = queue.enqueue_call("f", job_id="one", failure_ttl=60)
    redis.delete(lose(queue, job).key)
    a_worker(queue).work(burst=True)
    assert [job_id for job_id, _ in take_failed(queue)] == ["one"]
    assert not job_exists(redis, "one")


def test_a_job_that_is_taken_and_not_begun_is_put_aside_and_comes_back(redis: Redis) -> None:
    queue = a_queue(redis)
    queue.enqueue_call("f", job_id="one")
    Queue.dequeue_any([queue], 1, connection=redis, job_class=queue.job_class, serializer=JSONSerializer)
    assert redis.lrange(queue.key, 0, -1) == []
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == [b"one"]
    worker = a_worker(queue)
    requeue_abandoned(queue, worker, [])  # seen for the first time
    redis.set(queue.intermediate_queue.get_first_seen_key("one"), time.time() - 100)
    requeue_abandoned(queue, worker, [])
    assert redis.lrange(queue.intermediate_queue_key, 0, -1) == []
    assert [job_id for job_id, _ in take_failed(queue)] == ["one"]


def test_a_handler_of_exceptions_is_called_before_rq_decides_about_another_attempt(redis: Redis) -> None:
    left: list[int] = []

    def handler(job: Job, *_: object) -> None:
        left.append(attempts_left(job))
        if len(left) == 2:
            make_last_attempt(job)

    queue = a_queue(redis, f=lambda: 1 / 0)
    queue.enqueue_call("f", job_id="one", retry=RETRY)
    worker = a_worker(queue)
    worker.push_exc_handler(handler)  # type: ignore[no-untyped-call]
    worker.work(burst=True)
    assert left == [2, 1]
    assert the_job(queue).get_status() is JobStatus.FAILED


def test_a_job_that_returns_a_retry_has_lost_no_attempt(redis: Redis) -> None:
    answers = iter([Retry(max=1_000_000, enqueue_at_front=True)] * 5)
    queue, left = a_queue(redis, f=lambda: next(answers, None)), []
    queue.enqueue_call("f", job_id="one", retry=RETRY)
    for _ in range(5):
        a_worker(queue).work(burst=True, max_jobs=1)
        left.append(attempts_left(the_job(queue)))
    assert left == [2] * 5


def test_a_call_is_answered_before_it_has_ended(redis: Redis) -> None:
    queue = a_queue(redis)
    job = queue.enqueue_call("f", job_id="one")
    execution = lose(queue, job)
    answer_call(queue.started_job_registry, job, execution, {"code": "x"}, 30)
    result = job.latest_result()
    assert result is not None
    assert (result.type, result.return_value) == (result.Type.SUCCESSFUL, {"code": "x"})
    assert redis.zcard(started_key("q")) == 0
    assert 0 < redis.ttl(job.key) <= 30


def test_a_worker_that_is_to_stop_after_its_job_takes_no_other(redis: Redis) -> None:
    calls: list[str] = []

    class Stopping(SimpleWorker):
        def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
            stop_after_job(self)
            return super().perform_job(job, queue, execution)

    queue = a_queue(redis, f=calls.append)
    for name in ("a", "b"):
        queue.enqueue_call("f", args=(name,))
    a_worker(queue, Stopping).work(burst=True)
    assert calls == ["a"]


def test_a_function_is_looked_up_by_its_name_alone_and_nothing_else_of_a_job_is_called(redis: Redis) -> None:
    calls: list[str] = []
    queue = a_queue(redis, f=calls.append)
    queue.enqueue_call("f", args=("a",), job_id="one")
    redis.hset(job_key("one"), mapping={"success_callback_name": "os.abort", "failure_callback_name": "os.abort"})
    other = queue.enqueue_call("os.abort")
    a_worker(queue).work(burst=True)
    assert calls == ["a"]
    result = other.latest_result()
    assert result is not None
    assert "PermissionError" in (result.exc_string or "")


def test_rq_has_what_an_allowed_job_replaces() -> None:
    for name in ("func", "execution_registry", "success_callback", "failure_callback", "stopped_callback"):
        assert isinstance(inspect.getattr_static(Job, name), property), name
    for name in ("_remove_from_registries", "send_webhooks"):
        assert callable(getattr(Job, name)), name
    for name in ("perform_job", "get_heartbeat_ttl", "maintain_heartbeats", "request_stop", "kill_horse"):
        assert callable(getattr(SimpleWorker, name)), name
    assert SimpleWorker.log_result_lifespan is True
    assert Worker.redis_worker_namespace_prefix == "rq:worker:"


def test_a_job_that_is_gone_is_removed_from_registries_without_an_error_which_rq_would_raise(redis: Redis) -> None:
    for kind, raises in ((Job, True), (AllowedJob, False)):
        queue = Queue("q", connection=redis, job_class=kind, serializer=JSONSerializer)
        job = queue.enqueue_call("f", job_id="one")
        redis.delete(job.key)
        if raises:
            with pytest.raises(InvalidJobOperation):
                job._remove_from_registries()
        else:
            job._remove_from_registries()


def test_executions_of_which_only_the_name_is_left_can_be_removed_which_rq_would_refuse(redis: Redis) -> None:
    for kind, raises in ((Job, True), (AllowedJob, False)):
        queue = Queue("q", connection=redis, job_class=kind, serializer=JSONSerializer)
        job = queue.enqueue_call("f", job_id="one")
        redis.delete(lose(queue, job).key)
        if raises:
            with pytest.raises(ValueError, match="not found in Redis"):
                job.delete()
        else:
            job.delete()
            assert redis.keys("rq:*one*") == []
