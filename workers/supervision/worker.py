"""The RQ worker that keeps models warm: jobs run in this process, one after the other.

RQ's `SimpleWorker` leaves three holes, mended here: its heartbeats stop while a job runs (so a lost worker is noticed
only after the job's whole time limit), a stop command is ignored, and SIGTERM waits for the job's end however far away.
Here heartbeats go on from a thread, and a stop sets an event that is looked at before every batch. Every
attempt at a job is supervised (`current_attempt.py`); one under which the device broke is this worker's last.
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
from workers.supervision.current_attempt import Attempt, supervised_attempt
from workers.supervision.retry_policy import Attempts
from workers.supervision.watchdog import Watchdog

LOST_AFTER_HEARTBEATS = 4


class InProcessWorker(SimpleWorker):
    """A worker whose heartbeats and stopping work while a job runs.

    Args:
        heartbeat_seconds: time between two heartbeats; the worker counts as lost after four without a sign.
        stopping: set when the worker is asked to stop.
        ended: called with a job's id after RQ has done with it.
        watchdog: ends the process when a job makes no progress.
        attempts: knows how they ended.

    Attributes:
        attempts: the same.
        working: whether a job runs.
        device_broke: whether this process can do no more jobs.
    """

    log_result_lifespan = False

    def __init__(
        self,
        *arguments: Any,
        heartbeat_seconds: float,
        stopping: threading.Event,
        ended: Callable[[str], None],
        watchdog: Watchdog,
        attempts: Attempts,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._heartbeat_seconds = heartbeat_seconds
        self._stopping = stopping
        self._ended = ended
        self._watchdog = watchdog
        self.attempts = attempts
        self.push_exc_handler(attempts.on_exception)  # type: ignore[no-untyped-call] # RQ finds abandoned jobs too
        self.working = self.device_broke = False

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002 - RQ's signature
        """Return the seconds after which a job without heartbeats is taken away from this worker."""
        return math.ceil(LOST_AFTER_HEARTBEATS * self._heartbeat_seconds)

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run a job under supervision, with heartbeats beside it."""
        ended = threading.Event()
        heart = threading.Thread(target=self._beat, args=(job, execution, ended), name="heart", daemon=True)
        heart.start()
        self.working = True
        try:
            with self._attempting(job, execution) as attempt:
                succeeded = super().perform_job(job, queue, execution)
            if attempt.device_broke:
                self.attempts.rescue(self)
                self.device_broke = True
                stop_after_job(self)
                self._stopping.set()
            return succeeded
        finally:
            self.working = False
            ended.set()
            heart.join()
            self._ended(job.id)

    def _attempting(self, job: Job, execution: Execution) -> AbstractContextManager[Attempt]:
        return supervised_attempt(
            job, execution, self, watchdog=self._watchdog, attempts=self.attempts, stopping=self._stopping
        )

    def _beat(self, job: Job, execution: Execution, ended: threading.Event) -> None:
        while not ended.wait(self._heartbeat_seconds):
            try:
                self.maintain_heartbeats(job, execution)
            except Exception:  # because a server that restarts must not end the heart
                self.log.warning("heartbeat of job %s failed", job.id, exc_info=True)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop after the current batch: the job is handed back with its checkpoint."""
        self._stopping.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Do nothing: explanations are cancelled in the store, which the loop looks at with every report."""
