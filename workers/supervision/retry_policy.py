"""Failed attempts at jobs: their reasons, which of them count, what is tried again, and the failure after the last one.

RQ counts: a job whose worker was lost, or whose function raised, is tried again as long as it has retries left, at most
three times in all. A job that a stopping worker hands back has used no attempt. The reason of an attempt is recorded in
the job's own hash, under the number of attempts that were left, and expires with it; where none is recorded, the worker
was lost. After the last attempt the explanation fails with the reason recorded last.

An explanation whose worker was lost gets all attempts again if it had progressed since the loss before: on machines
that come and go a long explanation may lose any number of workers. An attempt that is known to have hung, or to have
broken its device, always counts.
"""

import logging
import math
import time
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import LockError, RedisError
from rq import Queue
from rq.exceptions import AbandonedJobError
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.worker import BaseWorker

from app.contract.counters import PersistentCounters
from app.contract.errors import StorageError
from app.contract.explanations.store import ExplanationStore
from app.contract.lua_scripts import lua
from app.contract.queue.jobs import AUDIT, EXPLAIN, RETRIES, SURVEY_FIGURES, SURVEY_REPORT
from app.contract.queue.rq_compat import (
    JOB_PREFIX,
    answer_call,
    attempts_left,
    expire_execution,
    is_tried_again,
    job_key,
    make_last_attempt,
    requeue_abandoned,
    take_failed,
)
from app.contract.redis.client import describe_error
from app.contract.redis.keys import record_key, rescue_lock_key
from app.contract.schemas import Failure
from app.contract.storage.object_store import BlobStore, survey_failure_blob
from workers.supervision.failures import failure_of, is_retryable
from workers.supervision.watchdog import CrashReport, collect_crash_reports

logger = logging.getLogger(__name__)

_LOST = Failure(code="worker-lost", detail="every worker that ran this explanation was lost; send the request again")
_SURVEY_LOST = Failure(code="worker-lost", detail="every worker that computed it was lost")
_LOCK_SECONDS = 10
_REASON = "ended:"  # prefix of fields in a job's hash
_REPLY_SECONDS = 60


def attempt_of(job: Job) -> str:
    """Return the identity of this attempt at a job: how many are left after it."""
    return str(attempts_left(job))


def stall_failure(model: str | None, seconds: float) -> Failure:
    """Return the failure of a job that made no progress."""
    if model is None:
        return Failure(code="timed-out", detail="its time was up, and it could not be interrupted")
    return Failure(
        code="timed-out",
        detail=f"model {model!r} made no progress for {math.floor(seconds)} seconds, and its worker was replaced "
        "(RISE_STALL_SECONDS is the limit for one batch)",
    )


class AttemptLog:
    """The reasons of failed attempts, and their reset.

    Args:
        redis: client with byte replies.
        started: the jobs of a queue that run.
    """

    def __init__(self, redis: Redis, started: StartedJobRegistry) -> None:
        self._redis = redis
        self._started = started
        self._record = redis.register_script(lua("record_attempt"))
        self._reset = redis.register_script(lua("reset_attempts"))

    def record_failure(self, job_id: str, attempt: str, failure: Failure) -> None:
        """Record why an attempt failed, if its job exists."""
        self._record(keys=[job_key(job_id)], args=[f"{_REASON}{attempt}", failure.model_dump_json()])

    def has_failure(self, job_id: str, attempt: str) -> bool:
        """Return whether it is recorded why an attempt failed."""
        return bool(self._redis.hexists(job_key(job_id), f"{_REASON}{attempt}"))

    def failures(self, job_id: str) -> list[Failure]:
        """Return the recorded failures, the last one first."""
        values: Any = self._redis.hgetall(job_key(job_id))
        names = sorted(name for name in values if name.startswith(_REASON.encode()))  # fewer attempts are left later
        return [Failure.model_validate_json(values[name]) for name in names]

    def reset_attempts_on_progress(self) -> None:
        """Give jobs whose worker was lost all attempts again, if they progressed since the loss before.

        To be called before RQ cleans up its registry of started jobs.
        """
        arguments: list[Any] = [time.time(), RETRIES, _REASON, JOB_PREFIX, record_key("")]
        self._reset(keys=[self._started.key], args=arguments)


class RetryPolicy:
    """Decides what follows a failed attempt at a job of one queue."""

    def __init__(self, redis: Redis, store: ExplanationStore, blobs: BlobStore, queue: Queue, *, crashes: Path) -> None:
        self._redis = redis
        self._store = store
        self._blobs = blobs
        self._queue = queue
        self._crashes = crashes
        self._counters = PersistentCounters(redis)
        self._started = queue.started_job_registry
        self._log = AttemptLog(redis, self._started)

    def on_stall(self, job: Job, execution: Execution, worker: BaseWorker, model: str | None, seconds: float) -> None:
        """End an attempt without progress: the next one begins at once; a call is answered with the failure."""
        failure = stall_failure(model, seconds)
        self._counters.count_lost_attempt(model or "", "stalled")
        if not is_tried_again(job):
            answer_call(self._started, job, execution, failure.model_dump(), _REPLY_SECONDS)
            return
        self._log.record_failure(job.id, attempt_of(job), failure)
        expire_execution(self._redis, self._started, execution)
        self.requeue_abandoned(worker)

    def on_broken_device(self, job: Job, model: str, failure: Failure) -> None:
        """Record that the device broke under a model; RQ tries again because the job raises."""
        self._counters.count_lost_attempt(model, "device-broken")
        self._log.record_failure(job.id, attempt_of(job), failure)

    def requeue_abandoned(self, worker: BaseWorker) -> None:
        """Requeue abandoned jobs, one worker at a time; fail those that have used all attempts."""
        lock = self._redis.lock(rescue_lock_key(self._queue.name), timeout=_LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return
        try:
            for report in collect_crash_reports(self._crashes):
                self._record_crash(report)
            self._log.reset_attempts_on_progress()
            requeue_abandoned(self._queue, worker, [self.on_exception])
            self._fail_exhausted()
        finally:
            try:
                lock.release()
            except LockError:
                logger.info("requeueing abandoned jobs took longer than its lock")

    def on_exception(self, job: Job, kind: type[BaseException], error: BaseException, *_: object) -> None:
        """Record why an attempt failed, unless that is recorded, and make it the last where a retry has no use.

        An exception handler of RQ; it is called for abandoned jobs too.
        """
        if not is_tried_again(job) or not isinstance(error, Exception):  # a call; or the process is to end
            return
        try:
            recorded = self._log.has_failure(job.id, attempt_of(job))
            if kind is AbandonedJobError and not recorded:
                self._count_lost(job)
            elif not recorded:
                self._log.record_failure(job.id, attempt_of(job), failure_of(error))
        except RedisError as cause:  # because RQ would end the worker
            logger.warning("the failure of an attempt at job %s was not recorded: %s", job.id, describe_error(cause))
        if kind is not AbandonedJobError and not is_retryable(error):
            make_last_attempt(job)

    def _count_lost(self, job: Job) -> None:
        model = self._store.model_of(job.id)
        if model is not None:
            self._counters.count_lost_attempt(model, "worker-lost")

    def _record_crash(self, report: CrashReport) -> None:
        context = report.context
        if report.frozen:
            logger.error("worker %s had been stopped, and ended itself when it went on", context.worker)
            return
        words = "worker %s ended itself: model %s held the interpreter lock for %g seconds, job %s\n%s"
        logger.error(words, context.worker, context.model, context.seconds, context.job, report.stack)
        self._counters.count_lost_attempt(context.model, "stalled")
        self._log.record_failure(context.job, context.attempt, stall_failure(context.model, context.seconds))

    def _fail_exhausted(self) -> None:
        for job_id, job in take_failed(self._queue):
            if job is not None and job.func_name in {EXPLAIN, AUDIT}:
                self._store.fail(job_id, self._final_failure(job, _LOST))
            if job is not None and job.func_name in {SURVEY_FIGURES, SURVEY_REPORT}:
                self._fail_survey(job)

    def _fail_survey(self, job: Job) -> None:
        """Store why a survey cannot go on, unless the storage itself failed: then the next look tries again."""
        failure = self._final_failure(job, _SURVEY_LOST)
        if failure.code == "storage-unavailable":
            return
        try:
            self._blobs.put(survey_failure_blob(str(job.args[0])), failure.model_dump_json().encode())
        except StorageError as error:
            logger.warning("the failure of job %s was not stored: %s", job.id, error.detail)

    def _final_failure(self, job: Job, lost: Failure) -> Failure:
        """Return the failure recorded last, with the number of attempts that failed with a recorded reason, or lost."""
        failures = self._log.failures(job.id)
        if not failures:
            return lost
        last = failures[0]
        detail = f"{last.detail}; so ended {len(failures)} of {RETRIES + 1} attempts"
        return last.model_copy(update={"detail": detail})
