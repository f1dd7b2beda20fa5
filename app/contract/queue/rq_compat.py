"""Everything that relies on what RQ does not document: its private API, the layout of its keys, the order of its work.

A release of RQ may change any of it. `tests/contract/test_rq_compat.py` has a test for each, which fails then;
`pyproject.toml` pins the major version.

Scripts get RQ's keys from here, and rely on this about them:

- a queue is a list of the ids of jobs, and workers take from its left end;
- a job is a hash; it has the fields `data` (what is called), `enqueued_at` (ISO 8601) and, where it is tried again,
  `retries_left` (a number), and leaves fields alone that it does not know;
- what runs from a queue is a sorted set of `job:execution` by when the next heartbeat is overdue, in seconds since
  1970.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import Queue, Worker
from rq.exceptions import AbandonedJobError, InvalidJobOperation
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.results import Result
from rq.serializers import JSONSerializer
from rq.utils import utcformat, utcparse
from rq.worker import BaseWorker

from app.contract.schemas import JsonObject

QUEUES_KEY = Queue.redis_queues_keys
"""Set: the keys of all queues."""

JOB_PREFIX = Job.redis_job_namespace_prefix
"""What the keys of jobs begin with."""

_JSON: Any = JSONSerializer  # because RQ has not typed it

ExceptionHandler = Callable[[Job, type[BaseException], BaseException, object], None]
"""Called with a job, and class, instance and traceback of what it raised."""


def job_key(job_id: str) -> str:
    """Return the key of a job's hash."""
    return f"{JOB_PREFIX}{job_id}"


def queue_key(name: str) -> str:
    """Return the key of a queue's list."""
    return f"{Queue.redis_queue_namespace_prefix}{name}"


def started_key(name: str) -> str:
    """Return the key of the sorted set of what runs from a queue."""
    return StartedJobRegistry.key_template.format(name)


def job_exists(redis: Redis, job_id: str) -> Any:
    """Return whether a job is there; a late heartbeat alone is none. In a pipeline, what the pipeline returns."""
    return redis.hexists(job_key(job_id), "data")


def read_worker_state(pipeline: Pipeline, worker: str) -> None:
    """Read the state of a worker in a pipeline: `b"idle"` or another one."""
    pipeline.hget(f"{Worker.redis_worker_namespace_prefix}{worker}", "state")


def parse_time(text: bytes) -> datetime:
    """Return a time that stands in a job's hash."""
    return utcparse(text.decode())


class Executions(ExecutionRegistry):
    """The executions of a job, by their names alone.

    Because RQ forgets what an execution was when its worker is lost, a minute before it forgets the name, and raises
    where it finds a name and nothing else: the job could not be removed, and one that has ended would run again.
    """

    def get_executions(self, start: int = 0, end: int = -1) -> list[Execution]:
        """Return all executions, of which nothing else need be there."""
        return [Execution(name, self.job_id, self.connection) for name in self.get_execution_ids(start, end)]


class AllowedJob(Job):
    """A job that can only call what the worker allows.

    RQ imports any dotted name that stands in a job's hash. Here a job names one of a few functions that the worker
    handed over when it started, and nothing is ever imported because a message says so; callbacks and webhooks that a
    job's hash might carry are ignored for the same reason.
    """

    functions: Mapping[str, Callable[..., Any]] = {}

    @property
    def func(self) -> Callable[..., Any]:
        """The function of the job's name.

        Raises:
            PermissionError: for any name that is not on the list.
        """
        name = str(self.func_name)
        if name not in self.functions:
            raise PermissionError(f"this worker does not run {name!r}")
        return self.functions[name]

    @property
    def execution_registry(self) -> ExecutionRegistry:
        """Its executions."""
        return Executions(self.id, connection=self.connection)

    def _remove_from_registries(self, *arguments: Any, **options: Any) -> None:
        """Do as RQ does, or nothing where the job is gone: it was removed while it ran, because it was cancelled."""
        with suppress(InvalidJobOperation):
            super()._remove_from_registries(*arguments, **options)

    success_callback = failure_callback = stopped_callback = None

    def send_webhooks(self, *_: Any, **__: Any) -> None:
        """Send nothing."""


def job_class(functions: Mapping[str, Callable[..., Any]]) -> type[AllowedJob]:
    """Return the job class of a worker that runs these functions."""
    return type("WorkerJob", (AllowedJob,), {"functions": dict(functions)})


def open_queue(redis: Redis, name: str, jobs: type[AllowedJob] = AllowedJob) -> Queue:
    """Return the queue of that name."""
    return Queue(name, connection=redis, serializer=JSONSerializer, job_class=jobs)


def job_fields(job: Job) -> JsonObject:
    """Return the fields of a new job's hash, as RQ writes them when it enqueues the job now."""
    job.enqueued_at = datetime.now(UTC)
    fields: JsonObject = job.to_dict()
    return fields


def fields_of_call(function: str, *arguments: Any) -> JsonObject:
    """Return those fields of a new job that differ from one job to the next of the same queue and options."""
    now = utcformat(datetime.now(UTC))
    described = ", ".join(map(repr, arguments))
    return {
        "created_at": now,
        "enqueued_at": now,
        "description": f"{function}({described})",
        "data": zlib.compress(_JSON.dumps((function, None, arguments, {}))),
    }


def is_tried_again(job: Job) -> bool:
    """Return whether a job that fails, or whose worker is lost, is tried again: explanations are, calls are not."""
    return job.retries_left is not None


def attempts_left(job: Job) -> int:
    """Return how many attempts at a job are left after this one."""
    return job.retries_left or 0


def make_last_attempt(job: Job) -> None:
    """Make the present attempt at a job the last; called by a handler of exceptions."""
    job.retries_left = 0


def expire_execution(redis: Redis, started: StartedJobRegistry, execution: Execution) -> None:
    """Mark an execution as lost, as if its heartbeats had ended."""
    redis.zadd(started.key, {execution.composite_key: 1}, xx=True)


def answer_call(started: StartedJobRegistry, job: Job, execution: Execution, answer: JsonObject, seconds: int) -> None:
    """Store the result of a call that has not ended, for `seconds`; it is not retried."""
    with started.connection.pipeline() as pipeline:
        Result.create(job, Result.Type.SUCCESSFUL, seconds, answer, pipeline=pipeline)
        pipeline.zrem(started.key, execution.composite_key)
        pipeline.expire(job.key, seconds)
        pipeline.execute()


def is_abandoned(result: Result) -> bool:
    """Return whether a result says that the worker was lost."""
    return AbandonedJobError.__name__ in (result.exc_string or "")


def requeue_abandoned(queue: Queue, worker: BaseWorker, handlers: Sequence[ExceptionHandler]) -> None:
    """Put jobs of lost workers back on their queue, or among the failed ones where no attempt is left.

    Args:
        queue: of the jobs.
        worker: in whose name.
        handlers: called with `AbandonedJobError` for each, before.
    """
    queue.started_job_registry.cleanup(exception_handlers=list(handlers))
    queue.intermediate_queue.cleanup(worker, queue)


def take_failed(queue: Queue) -> Iterator[tuple[str, Job | None]]:
    """Yield the ids of failed jobs of a queue, and the jobs, None where one is gone; each is forgotten afterwards."""
    registry = queue.failed_job_registry
    for job_id in registry.get_job_ids():
        job = queue.fetch_job(job_id)
        yield job_id, job
        registry.remove(job or job_id, delete_job=job is not None)  # by id alone it would be a job of RQ's class


def stop_after_job(worker: BaseWorker) -> None:
    """Let a worker take no further job."""
    worker._stop_requested = True


def flat(fields: Mapping[str, Any]) -> Iterable[Any]:
    """Return names and values of fields one after the other, as Redis takes them."""
    return (part for field in fields.items() for part in field)
