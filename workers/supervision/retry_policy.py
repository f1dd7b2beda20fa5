"""How attempts at jobs end that do not end well, known to every worker: what is tried again, and what is said at last.

RQ counts: a job whose worker was lost, or whose function raised, is tried again as long as it has retries left, at most
three times in all; a job that a leaving worker hands back has lost nothing. Why an attempt ended is noted in the job's
own hash and goes with it. Where nobody could note anything, the worker was lost. When the last attempt has ended, the
explanation fails with what was noted.
"""

import logging
import math
from pathlib import Path

from redis import Redis
from redis.exceptions import LockError, RedisError
from rq import Queue
from rq.exceptions import AbandonedJobError
from rq.executions import Execution
from rq.job import Job
from rq.worker import BaseWorker

from app.contract.counters import PersistentCounters
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.jobs import EXPLAIN, RETRIES
from app.contract.queue.rq_compat import (
    attempts_left,
    is_tried_again,
    make_last_attempt,
    requeue_abandoned,
    take_failed,
)
from app.contract.redis.client import describe_error
from app.contract.redis.keys import rescue_lock_key
from app.contract.schemas import Failure
from workers.supervision.attempt_log import AttemptLog
from workers.supervision.crash_reports import CrashReport, collect_crash_reports
from workers.supervision.failures import failure_of, is_retryable

logger = logging.getLogger(__name__)

_LOST = Failure(code="worker-lost", detail="every worker that ran this explanation was lost; send the request again")
_LOCK_SECONDS = 10


def attempt_of(job: Job) -> str:
    """Return what sets this attempt at a job apart from the others: how many are left after it."""
    return str(attempts_left(job))


def stall_of(model: str | None, seconds: float) -> Failure:
    """Return the failure of a job that made no progress."""
    if model is None:
        return Failure(code="timed-out", detail="its time was up, and it could not be interrupted")
    return Failure(
        code="timed-out",
        detail=f"model {model!r} made no progress for {math.floor(seconds)} seconds, and its worker was replaced "
        "(RISE_STALL_SECONDS is the limit for one batch)",
    )


class Attempts:
    """Notes how attempts at the jobs of one queue ended, and sees to what follows."""

    def __init__(self, redis: Redis, store: ExplanationStore, queue: Queue, *, stacks: Path) -> None:
        self._redis = redis
        self._store = store
        self._queue = queue
        self._stacks = stacks
        self._statistics = PersistentCounters(redis)
        self._losses = AttemptLog(redis, queue.started_job_registry)

    def stalled(self, job: Job, execution: Execution, worker: BaseWorker, model: str | None, seconds: float) -> None:
        """Give up an attempt that made no progress: the next one begins at once, or whoever asked is told."""
        failure = stall_of(model, seconds)
        self._statistics.count_lost_attempt(model or "", "stalled")
        if not is_tried_again(job):  # a short call: somebody waits for its answer
            self._losses.answer(job, execution, failure)
            return
        self._losses.note(job.id, attempt_of(job), failure)
        self._losses.lose(execution)
        self.rescue(worker)

    def device_broke(self, job: Job, model: str, failure: Failure) -> None:
        """Note that the device broke under a model; RQ tries again because the job raises."""
        self._statistics.count_lost_attempt(model, "device-broken")
        self._losses.note(job.id, attempt_of(job), failure)

    def rescue(self, worker: BaseWorker) -> None:
        """Put abandoned jobs back on the queue, one worker at a time; fail those that have had all their attempts."""
        lock = self._redis.lock(rescue_lock_key(self._queue.name), timeout=_LOCK_SECONDS, blocking=False)
        if not lock.acquire():
            return
        try:
            for left in collect_crash_reports(self._stacks):
                self._note_stack(left)
            self._losses.forgive()
            requeue_abandoned(self._queue, worker, [self.on_exception])
            self._give_up()
        finally:
            try:
                lock.release()
            except LockError:
                logger.info("rescuing took longer than its lock")

    def on_exception(self, job: Job, kind: type[BaseException], error: BaseException, *_: object) -> None:
        """Note why an attempt ended, if nobody has: its worker is gone, or it raised; a handler of exceptions for RQ.

        One that would raise again is the last.
        """
        if not is_tried_again(job) or not isinstance(error, Exception):  # a call; or the process is told to end
            return
        try:
            noted = self._losses.is_noted(job.id, attempt_of(job))
            if kind is AbandonedJobError and not noted:
                self._count_lost(job)
            elif not noted:
                self._losses.note(job.id, attempt_of(job), failure_of(error))
        except RedisError as cause:  # because RQ would end the worker
            logger.warning("it was not noted why an attempt at job %s ended: %s", job.id, describe_error(cause))
        if kind is not AbandonedJobError and not is_retryable(error):
            make_last_attempt(job)

    def _count_lost(self, job: Job) -> None:
        model = self._store.model_of(job.id)
        if model is not None:
            self._statistics.count_lost_attempt(model, "worker-lost")

    def _note_stack(self, left: CrashReport) -> None:
        doing = left.doing
        if left.frozen:
            logger.error("worker %s stood still, and ended itself when it woke up", doing.worker)
            return
        words = "worker %s ended itself: model %s kept the interpreter for itself for %g seconds, job %s\n%s"
        logger.error(words, doing.worker, doing.model, doing.seconds, doing.job, left.stack)
        self._statistics.count_lost_attempt(doing.model, "stalled")
        self._losses.note(doing.job, doing.attempt, stall_of(doing.model, doing.seconds))

    def _give_up(self) -> None:
        for job_id, job in take_failed(self._queue):
            if job is not None and job.func_name == EXPLAIN:
                self._store.fail(job_id, self._verdict(job))

    def _verdict(self, job: Job) -> Failure:
        """Return why a job failed whose attempts are used up: what was noted last, and of how many attempts."""
        notes = self._losses.notes(job.id)
        if not notes:
            return _LOST
        last = notes[0]
        detail = f"{last.detail}; so ended {len(notes)} of {RETRIES + 1} attempts"
        return last.model_copy(update={"detail": detail})
