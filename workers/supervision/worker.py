"""The RQ worker that runs jobs in its own process, one after the other, so that models stay loaded.

It changes RQ's `SimpleWorker` in three places: that one sends no heartbeats while a job runs (so a lost worker is
detected only after the job's whole time limit), ignores stop commands, and on SIGTERM waits for the end of the job.
Here a thread sends heartbeats, and a stop sets an event that is checked before every batch. Every attempt at a job is
supervised (`current_attempt.py`); after one under which the device broke the worker ends.
"""

import math
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

from rq import Queue, SimpleWorker
from rq.executions import Execution
from rq.job import Job

from app.contract.queue.rq_compat import stop_after_job
from app.contract.signal_handlers import set_in_handler
from workers.supervision.current_attempt import Attempt, supervised_attempt
from workers.supervision.retry_policy import RetryPolicy
from workers.supervision.watchdog import Watchdog

LOST_AFTER_HEARTBEATS = 4


class InProcessWorker(SimpleWorker):
    """A worker whose heartbeats and stopping work while a job runs.

    Args:
        heartbeat_seconds: time between two heartbeats; the worker counts as lost after four intervals without one.
        stopping: set when the worker is to stop.
        on_job_end: called with a job's id after RQ has cleaned it up.
        watchdog: ends the process when a job makes no progress.
        retries: records failed attempts, and requeues those of lost workers.

    Attributes:
        retries: the same.
        working: whether a job runs.
        device_broke: whether this process can do no more jobs.
    """

    log_result_lifespan = False

    def __init__(
        self,
        *arguments: Any,
        heartbeat_seconds: float,
        stopping: threading.Event,
        on_job_end: Callable[[str], None],
        watchdog: Watchdog,
        retries: RetryPolicy,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._heartbeat_seconds = heartbeat_seconds
        self._stopping = stopping
        self._on_job_end = on_job_end
        self._watchdog = watchdog
        self.retries = retries
        self.push_exc_handler(retries.on_exception)  # type: ignore[no-untyped-call] # for abandoned jobs too
        self.working = self.device_broke = False

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002 - RQ's signature
        """Return the seconds without heartbeats after which a job counts as abandoned."""
        return math.ceil(LOST_AFTER_HEARTBEATS * self._heartbeat_seconds)

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run a job under supervision, with heartbeats beside it."""
        ended = threading.Event()
        heartbeats = threading.Thread(
            target=self._send_heartbeats, args=(job, execution, ended), name="heartbeat", daemon=True
        )
        heartbeats.start()
        self.working = True
        try:
            with self._supervised(job, execution) as attempt:
                succeeded = super().perform_job(job, queue, execution)
            if attempt.device_broke:
                self.retries.requeue_abandoned(self)
                self.device_broke = True
                stop_after_job(self)
                self._stopping.set()
            return succeeded
        finally:
            self.working = False
            ended.set()
            heartbeats.join()
            self._on_job_end(job.id)

    def _supervised(self, job: Job, execution: Execution) -> AbstractContextManager[Attempt]:
        return supervised_attempt(
            job, execution, self, watchdog=self._watchdog, retries=self.retries, stopping=self._stopping
        )

    def _send_heartbeats(self, job: Job, execution: Execution, ended: threading.Event) -> None:
        while not ended.wait(self._heartbeat_seconds):
            try:
                self.maintain_heartbeats(job, execution)
            except Exception:  # because heartbeats must go on after the server restarts
                self.log.warning("heartbeat of job %s failed", job.id, exc_info=True)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop after the current batch: the job is requeued with its checkpoint."""
        set_in_handler(self._stopping)
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Do nothing: explanations are cancelled in the store, which the loop reads with every progress report."""
