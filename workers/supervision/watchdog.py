"""Ends the process when the model that is asked shows no sign of life any more: whoever started it starts another.

Nothing in this process can end a call that hangs in a driver or in a C extension; only the end of the process can. Two
watchmen see to it. A thread looks at the time since the last sign, every batch being one, and can still say why it all
ends. It needs the interpreter, though, which a C extension may keep for itself; so while a model is asked, a timer that
works without it (`faulthandler`) ends the process unless the thread puts it off. It is given as long as others wait for
a heartbeat: a worker that cannot send one has lost its job anyway.

A job is also watched as a whole. RQ interrupts it with SIGALRM when its time is up; one that does not even hear that is
ended a little later. Loading a model is under no other limit than that: it may take long, and a worker that was started
in the place of this one would only have to do it again.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from app.contract.exit_codes import STALLED
from workers.supervision.crash_reports import CrashContext, close_stack, open_stack, write_crash_context

logger = logging.getLogger(__name__)

_LAST_WORDS_SECONDS = 10.0  # for what is said before the end; Redis may be away
_LONGEST_LOOK_SECONDS = 1.0
_SLACK_SECONDS = 2.0  # a look that comes later than this was held up together with everything else


@dataclass(frozen=True)
class WatchedJob:
    """A job under watch.

    Attributes:
        job: its id.
        attempt: which one; see `Attempts`.
        seconds: after which RQ interrupts it.
        report: told of a model that made no progress for so many seconds, before the end; None: of the whole job.
    """

    job: str
    attempt: str
    seconds: float
    report: Callable[[str | None, float], None]


class Watchdog:
    """Watches one job at a time.

    Args:
        worker: name of the worker.
        stall_seconds: longest time without a sign of a model that is asked.
        blocked_seconds: longest time that a model may keep the interpreter for itself.
        folder: where a stack is left by a process that can do nothing else.
    """

    def __init__(self, worker: str, *, stall_seconds: float, blocked_seconds: float, folder: Path) -> None:
        self._worker = worker
        self._stall_seconds = stall_seconds
        self._blocked_seconds = blocked_seconds
        self._folder = folder
        self._pause = min(_LONGEST_LOOK_SECONDS, stall_seconds / 10)
        self._lock = threading.Lock()  # between the thread and the beginning and end of jobs
        self._job: WatchedJob | None = None
        self._file: FileIO | None = None
        self._overdue_at = self._sign_at = float("inf")
        self._model: str | None = None
        self._armed = False  # the timer

    def start(self) -> None:
        """Begin to look, in the background, until the process ends."""
        threading.Thread(target=self._keep_looking, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self, job: WatchedJob) -> Iterator[None]:
        """Watch a job."""
        with self._lock:
            self._job, self._file, self._model = job, self._opened(), None
            self._overdue_at = time.monotonic() + job.seconds + self._stall_seconds
        try:
            yield
        finally:
            with self._lock:
                self._disarm()
                if self._file is not None:
                    close_stack(self._file)
                self._job, self._file = None, None

    @contextmanager
    def asking(self, model_id: str) -> Iterator[None]:
        """Watch a model: it must show a sign of life from time to time."""
        self.sign()
        self._model = model_id
        try:
            if not self._armed:  # at once, because the thread may never come to it
                with self._lock:
                    self._put_off()
            yield
        finally:
            self._model = None

    def sign(self) -> None:
        """Take notice of a sign of life."""
        self._sign_at = time.monotonic()

    def _opened(self) -> FileIO | None:
        try:
            return open_stack(self._folder, self._worker)
        except OSError as error:  # because a full disk is no reason not to work
            logger.warning("no stack can be left behind: %s", error)
            return None

    def _keep_looking(self) -> None:
        looked_at = time.monotonic()
        while True:
            time.sleep(self._pause)
            now = time.monotonic()
            if now - looked_at > self._pause + _SLACK_SECONDS:
                self.sign()  # because nothing ran meanwhile: the process was stopped, or starved
            looked_at = now
            try:
                self._look(now)
            except Exception:  # because without this thread a model that hangs keeps its worker for ever
                logger.exception("the watchdog failed to look")

    def _look(self, now: float) -> None:
        with self._lock:
            job, late = self._job, self._late(now)
            if job is None:
                return
            if late is None:
                self._put_off()
        if late is not None:
            self._end(job, *late)

    def _late(self, now: float) -> tuple[str | None, float] | None:
        """Return the model and the seconds for which it has shown no sign; None while all is well."""
        model, silent = self._model, now - self._sign_at
        if model is not None and silent > self._stall_seconds:
            return model, silent
        return (None, now - self._overdue_at + self._stall_seconds) if now > self._overdue_at else None

    def _disarm(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._armed = False

    def _put_off(self) -> None:
        """Give the timer its time anew while a model is asked."""
        job, model = self._job, self._model
        if model is None:
            self._disarm()
            return
        if self._file is not None and job is not None:
            doing = CrashContext(self._worker, job.job, job.attempt, model, self._blocked_seconds, time.time())
            try:
                write_crash_context(self._file, doing)
            except OSError as error:  # because a full disk is no reason to look no more
                logger.warning("no stack can be left behind: %s", error)
        faulthandler.dump_traceback_later(self._blocked_seconds, exit=True, file=self._file or sys.stderr)
        self._armed = True

    def _end(self, job: WatchedJob, model: str | None, silent: float) -> None:
        faulthandler.dump_traceback_later(_LAST_WORDS_SECONDS, exit=True, file=self._file or sys.stderr)
        what = f"model {model!r}" if model is not None else "a job that had to end"
        try:
            logger.error("%s made no progress for %.0f s: this worker ends itself, job %s", what, silent, job.job)
            faulthandler.dump_traceback()
            job.report(model, silent)
        finally:
            os._exit(STALLED)
