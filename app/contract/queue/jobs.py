"""Jobs on RQ: JSON only, an allow-list of functions, one queue per worker."""

import math
import uuid
from collections.abc import Iterable
from typing import Any

from redis import Redis
from rq import Retry
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer

from app.contract.audits import audited_id
from app.contract.lua_scripts import lua
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.load import Load, load_of
from app.contract.queue.rq_compat import (
    JOB_PREFIX,
    QUEUES_KEY,
    AllowedJob,
    fields_of_call,
    flat,
    job_fields,
    job_key,
    open_queue,
    queue_key,
    read_worker_state,
)
from app.contract.redis.keys import record_key
from app.contract.schemas import JsonObject

EXPLAIN = "explain"
AUDIT = "audit"
PREDICT = "predict"
MEASURE = "measure"
ASSIST = "assist"
SURVEY_FIGURES = "survey_figures"
SURVEY_REPORT = "survey_report"
RETRIES = 2  # after the first attempt
_FAILED_KEPT_SECONDS = 600
_LOOKED_AT = 100  # jobs at most; few of them can be calls for assistance
_TASK_KEPT_SECONDS = 86_400  # while it waits; who wants it then enqueues it again
_CALL_KEPT_SECONDS = 60  # longer than a caller waits for it
_STAYS, _LEFT_OVER = -1, -2  # instead of the number of jobs before one


def _function_of(record_id: str) -> str:
    """Return what is called for a record: a worker of a version without audits must not run one as an explanation."""
    return EXPLAIN if audited_id(record_id) is None else AUDIT


def enqueue_keys(queue_name: str, job_id: str) -> list[str]:
    """Return the first three keys of `lua/enqueue.lua`."""
    return [queue_key(queue_name), QUEUES_KEY, job_key(job_id)]


class JobQueue:
    """Enqueues, removes and inspects jobs."""

    def __init__(self, redis: Redis, *, timeout_seconds: int) -> None:
        self._redis = redis
        self._timeout_seconds = timeout_seconds
        self._enqueue = redis.register_script(lua("enqueue_explanation"))
        self._ask = redis.register_script(lua("enqueue_call"))
        self._forms: dict[str, JsonObject] = {}

    def enqueue_explanation(
        self, queue_name: str, explanation_id: str, *, again: bool, tags: SchedulingTags
    ) -> int | None:
        """Insert an explanation into a queue by its tags; idempotent.

        One that waits already moves only to a better lane. One that is requeued after its worker was lost goes to the
        front.

        Args:
            queue_name: of the workers that serve its model.
            explanation_id: also the job's id.
            again: whether an earlier attempt has ended; the rest of its job is removed first.
            tags: its tags.

        Returns:
            How many jobs are before it; None if it has not moved.
        """
        job = self.job(queue_name, explanation_id, tags)
        keys = [*enqueue_keys(queue_name, explanation_id), record_key(explanation_id)]
        found = self._enqueue(keys=keys, args=[JOB_PREFIX, "again" if again else "", *job])
        return self.settled(int(found), queue_name, explanation_id, tags)

    def settled(self, found: int, queue_name: str, explanation_id: str, tags: SchedulingTags) -> int | None:
        """Return the number of jobs before one that the script has enqueued, after removing the rest of an old one."""
        if found == _LEFT_OVER:
            self.remove(explanation_id)
            return self.enqueue_explanation(queue_name, explanation_id, again=False, tags=tags)
        return None if found == _STAYS else found

    def job(self, queue_name: str, explanation_id: str, tags: SchedulingTags) -> list[Any]:
        """Return the arguments of `lua/enqueue.lua` for an explanation's job."""
        fields = {**self._form(queue_name), **fields_of_call(_function_of(explanation_id), explanation_id)}
        return [explanation_id, *tags.arguments(), *flat(fields)]

    def _form(self, queue_name: str) -> JsonObject:
        """Return the fields that RQ writes for every explanation of a queue, which are cached."""
        if queue_name not in self._forms:
            job = open_queue(self._redis, queue_name).create_job(
                EXPLAIN,
                timeout=self._timeout_seconds,
                result_ttl=0,
                failure_ttl=_FAILED_KEPT_SECONDS,
                retry=Retry(max=RETRIES, enqueue_at_front=True),
            )
            self._forms[queue_name] = {name: value for name, value in job_fields(job).items() if name != "data"}
        return self._forms[queue_name]

    def remove(self, job_id: str) -> None:
        """Remove a waiting or ended job; one that runs continues."""
        try:
            AllowedJob.fetch(job_id, connection=self._redis, serializer=JSONSerializer).delete()
        except (NoSuchJobError, InvalidJobOperation):  # because a worker may end it between the two steps
            return

    def load(self, queue_name: str) -> Load:
        """Return how many jobs of a queue wait and run."""
        return load_of(self._redis, queue_name)

    def position(self, queue_name: str, explanation_id: str) -> int | None:
        """Return how many jobs are before this one; None if it does not wait."""
        found: Any = self._redis.lpos(queue_key(queue_name), explanation_id)
        return None if found is None else int(found)

    def enqueue_assistance(self, queue_name: str, explanation_id: str, workers: int) -> int:
        """Enqueue calls to assist with an explanation if nothing waits on the queue; return how many."""
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

    def has_waiting_jobs(self, queue_name: str) -> bool:
        """Return whether anything but calls for assistance waits on a queue."""
        return any(
            not name.startswith(ASSIST) for name in open_queue(self._redis, queue_name).get_job_ids(0, _LOOKED_AT)
        )

    def idle(self, workers: Iterable[str]) -> list[str]:
        """Return those workers that are idle."""
        names = list(workers)
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in names:
                read_worker_state(pipeline, name)
            return [name for name, state in zip(names, pipeline.execute(), strict=True) if state == b"idle"]

    def enqueue_task(self, queue_name: str, job_id: str, function: str, *arguments: Any, tags: SchedulingTags) -> None:
        """Enqueue a function whose result is what it stores; nothing happens where it waits or runs already.

        It is tried again where its worker is lost.

        Args:
            queue_name: of the workers that can run it.
            job_id: the same each time.
            function: name of an allowed function.
            arguments: JSON values.
            tags: its place in the queue.
        """
        job = open_queue(self._redis, queue_name).create_job(
            function,
            args=arguments,
            job_id=job_id,
            description=job_id,
            timeout=self._timeout_seconds,
            result_ttl=0,
            failure_ttl=_FAILED_KEPT_SECONDS,
            retry=Retry(max=RETRIES, enqueue_at_front=True),
        )
        fields = [job_id, *tags.arguments(), *flat(job_fields(job))]
        self._ask(keys=enqueue_keys(queue_name, job_id), args=[JOB_PREFIX, _TASK_KEPT_SECONDS, *fields])

    def ask(
        self,
        queue_name: str,
        function: str,
        *arguments: Any,
        seconds: float,
        tags: SchedulingTags | None = None,
        name: str | None = None,
    ) -> Job:
        """Enqueue a call to a worker, whose result the caller waits for.

        It is interrupted after 90 % of the time, so that the caller still gets the error. A caller that stops waiting
        removes the job; otherwise it expires after a minute.

        Args:
            queue_name: of the workers that can run it.
            function: name of an allowed function.
            arguments: JSON values.
            seconds: for which the caller waits.
            tags: its tags; None puts a short call at the front.
            name: id of the job, by which it can be removed even if this call is interrupted; None generates one.
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
        if tags is None:
            queue.enqueue_job(job, at_front=True)
        else:
            script_arguments = [JOB_PREFIX, _CALL_KEPT_SECONDS, job.id, *tags.arguments(), *flat(job_fields(job))]
            self._ask(keys=enqueue_keys(queue_name, job.id), args=script_arguments)
        return job
