"""Jobs on RQ: JSON only, an allow-list of functions, one queue per worker.

RQ imports any dotted name that stands in a job's hash. Here a job names one of a few functions that the worker handed
over when it started, and nothing is ever imported because a message says so; callbacks and webhooks that a job's hash
might carry are ignored for the same reason.
"""

import math
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from rq import Queue, Retry, Worker
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import utcformat

from app.contract.queue.fair_queue import TAKE_PLACE, SchedulingTags
from app.contract.queue.load import Load, load_of
from app.contract.schemas import JsonObject

EXPLAIN = "explain"
PREDICT = "predict"
MEASURE = "measure"
ASSIST = "assist"
RETRIES = 2  # after the first attempt
_FAILED_KEPT_SECONDS = 600
_LOOKED_AT = 100  # jobs at most, of which few can be calls for assistance
_CALL_KEPT_SECONDS = 60  # longer than one is waited for and runs
_CALLS: Any = JSONSerializer  # because RQ has not typed it
_STAYS, _LEFT_OVER = -1, -2  # in the place of how many jobs stand before one

# Puts an explanation on a queue, or moves the job that it has to a better lane; job: id, lane, tenant, seconds, work,
# masks, then fields and values of RQ's own. A job whose attempt has ended is left as it is where `again` is said: what
# RQ keeps of it is RQ's to remove.
ENQUEUE = (
    TAKE_PLACE
    + """
local STAYS, LEFT_OVER = -1, -2

local function enqueue(queue, job, again)
  local id, lane = job[1], tonumber(job[2])
  local key = 'rq:job:' .. id
  if redis.call('HEXISTS', key, 'data') == 0 then  -- what a late heartbeat left behind is no job
    redis.call('SADD', 'rq:queues', queue)
    redis.call('HSET', key, unpack(job, 7))
  else
    if again then return LEFT_OVER end
    local present = tonumber(redis.call('HGET', key, 'lane'))
    if present and present <= lane then return STAYS end
    if redis.call('LREM', queue, -1, id) == 0 then return STAYS end
    local record = 'rise:explanation:' .. id
    if lane == 1 and redis.call('HEXISTS', record, 'status') == 1 then
      redis.call('HSET', record, 'priority', '"interactive"')  -- which a job in the place of this one would have, too
    end
  end
  return take_place(queue, id, lane, job[3], job[4], job[5], job[6])
end
"""
)
_ENQUEUE = ENQUEUE + "return enqueue(KEYS[1], {unpack(ARGV, 2)}, ARGV[1] == 'again')"
_ASK = ENQUEUE + "enqueue(KEYS[1], {unpack(ARGV, 2)}) redis.call('EXPIRE', 'rq:job:' .. ARGV[2], ARGV[1])"


class Executions(ExecutionRegistry):
    """The executions of a job, by their names alone.

    Because RQ forgets what an execution was when its worker is lost, a minute before it forgets the name, and raises
    where it finds a name and nothing else: the job could not be removed, and one that has ended would run again.
    """

    def get_executions(self, start: int = 0, end: int = -1) -> list[Execution]:
        """Return all executions, of which nothing else need be there."""
        return [Execution(name, self.job_id, self.connection) for name in self.get_execution_ids(start, end)]


class AllowedJob(Job):
    """A job that can only call what the worker allows."""

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


def queue_key(name: str) -> str:
    """Return the key of a queue's list."""
    return f"rq:queue:{name}"


class JobQueue:
    """What the front end does with the queues."""

    def __init__(self, redis: Redis, *, timeout_seconds: int) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._enqueue = redis.register_script(_ENQUEUE)
        self._ask = redis.register_script(_ASK)
        self._forms: dict[str, JsonObject] = {}

    def enqueue_explanation(
        self, queue_name: str, explanation_id: str, *, again: bool, turn: SchedulingTags
    ) -> int | None:
        """Put an explanation on a queue where its turn is, once however often it is called.

        One that waits already moves only to a better lane. One that comes back from a lost worker goes to the front:
        it has had its turn.

        Args:
            queue_name: of the workers that serve its model.
            explanation_id: also the job's id.
            again: an earlier attempt has ended; what is left of its job is removed first.
            turn: decides where it waits.

        Returns:
            How many jobs stand before it; None where it has not moved.
        """
        job = self.job(queue_name, explanation_id, turn)
        found = self._enqueue(keys=[queue_key(queue_name)], args=["again" if again else "", *job])
        return self.settled(int(found), queue_name, explanation_id, turn)

    def settled(self, found: int, queue_name: str, explanation_id: str, turn: SchedulingTags) -> int | None:
        """Return how many jobs stand before one that `enqueue` has seen to, after removing what an old one left."""
        if found == _LEFT_OVER:
            self.remove(explanation_id)
            return self.enqueue_explanation(queue_name, explanation_id, again=False, turn=turn)
        return None if found == _STAYS else found

    def job(self, queue_name: str, explanation_id: str, turn: SchedulingTags) -> list[Any]:
        """Return an explanation's job as `enqueue` wants it; what is no text stands at its end."""
        now = utcformat(datetime.now(UTC))
        fields = {
            **self._form(queue_name),
            "created_at": now,
            "enqueued_at": now,
            "description": f"{EXPLAIN}({explanation_id!r})",
            "data": zlib.compress(_CALLS.dumps((EXPLAIN, None, (explanation_id,), {}))),
        }
        return [explanation_id, *turn.arguments(), *(part for field in fields.items() for part in field)]

    def _form(self, queue_name: str) -> JsonObject:
        """Return what RQ writes of every explanation on a queue; to have it written anew each time takes a while."""
        if queue_name not in self._forms:
            job = open_queue(self._redis, queue_name).create_job(
                EXPLAIN,
                timeout=self._timeout_seconds,
                result_ttl=0,
                failure_ttl=_FAILED_KEPT_SECONDS,
                retry=Retry(max=RETRIES, enqueue_at_front=True),
            )
            self._forms[queue_name] = {name: value for name, value in job.to_dict().items() if name != "data"}
        return self._forms[queue_name]

    def remove(self, job_id: str) -> None:
        """Take an explanation, or what was asked, off its queue, or forget its ended job; what runs runs on."""
        try:
            AllowedJob.fetch(job_id, connection=self._redis, serializer=JSONSerializer).delete()
        except (NoSuchJobError, InvalidJobOperation):  # because a worker may end it between the two steps
            return

    def load(self, queue_name: str) -> Load:
        """Return how much waits and runs on a queue."""
        queue = open_queue(self._redis, queue_name)
        return load_of(self._redis, queue.key, queue.started_job_registry.key)

    def position(self, queue_name: str, explanation_id: str) -> int | None:
        """Return how many jobs stand before this one; None where it does not wait."""
        found: Any = self._redis.lpos(queue_key(queue_name), explanation_id)
        return None if found is None else int(found)

    def call_in(self, queue_name: str, explanation_id: str, workers: int) -> int:
        """Ask workers to assist with an explanation, if nothing waits at all; return how many were asked."""
        queue = open_queue(self._redis, queue_name)
        if queue.count:
            return 0
        for _ in range(workers):
            queue.enqueue_call(
                ASSIST,
                args=(explanation_id,),
                job_id=f"{ASSIST}-{uuid.uuid4().hex}",
                timeout=self._timeout_seconds,
                result_ttl=0,
                failure_ttl=_FAILED_KEPT_SECONDS,
            )
        return workers

    def something_waits(self, queue_name: str) -> bool:
        """Return whether anything but calls for assistance waits on a queue."""
        return any(
            not name.startswith(ASSIST) for name in open_queue(self._redis, queue_name).get_job_ids(0, _LOOKED_AT)
        )

    def idle(self, workers: Iterable[str]) -> list[str]:
        """Return those of some workers that have nothing to do just now."""
        names = list(workers)
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hget(f"{Worker.redis_worker_namespace_prefix}{name}", "state")
            return [name for name, state in zip(names, pipeline.execute(), strict=True) if state == b"idle"]

    def ask(
        self,
        queue_name: str,
        function: str,
        *arguments: Any,
        seconds: float,
        turn: SchedulingTags | None = None,
        name: str | None = None,
    ) -> Job:
        """Have a worker run a function for somebody who waits for its answer.

        It is interrupted a little before the time is up, so that whoever waits is told what it was that hung. Whoever
        waits no longer removes it; should they be gone too, it is forgotten after a minute.

        Args:
            queue_name: of the workers that can.
            function: its name.
            arguments: which JSON can hold.
            seconds: for which somebody waits.
            turn: decides where it waits; None for what takes next to no time, and goes before everything.
            name: by which it can be removed, also by whoever is interrupted here; else it gets one.
        """
        queue = open_queue(self._redis, queue_name)
        job = queue.create_job(
            function,
            args=arguments,
            job_id=name,
            timeout=max(1, math.floor(0.9 * seconds)),
            result_ttl=_CALL_KEPT_SECONDS,
            ttl=_CALL_KEPT_SECONDS,
            failure_ttl=_CALL_KEPT_SECONDS,
        )
        if turn is None:
            queue.enqueue_job(job, at_front=True)
        else:
            job.enqueued_at = datetime.now(UTC)
            fields = (part for field in job.to_dict().items() for part in field)
            self._ask(keys=[queue.key], args=[_CALL_KEPT_SECONDS, job.id, *turn.arguments(), *fields])
        return job


def job_exists(redis: Redis, key: str) -> Any:
    """Return whether a job is there; not one of which a late heartbeat is all there is. Of a pipeline, what it says."""
    return redis.hexists(key, "data")
