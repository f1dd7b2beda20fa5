"""Ends the process when a model that is called makes no progress; the process supervisor starts another.

A call that hangs in a driver or in a C extension can only be ended together with its process. Two watchers do that. A
thread checks the time since the last progress (every batch is one), and can record the reason before the end. It needs
the interpreter lock, which a C extension may hold for ever; so during a model call a timer that works without the lock
(`faulthandler.dump_traceback_later`) ends the process unless the thread rearms it. It is set to the time after which
the worker's missing heartbeats lose it the job anyway.

That timer can do one thing before the end: write the stack of every thread to a file. During a model call the file
holds one line with the call's context. The worker that requeues abandoned jobs collects these files
(`collect_crash_reports`): a stack below the first line means that the process ended itself.

A job is also bounded as a whole. RQ interrupts it with SIGALRM at its time limit; where the signal has no effect, the
process is ended a little later. Loading a model has no other limit: it may take long, and the next worker would have to
do it again.
"""

import faulthandler
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from io import FileIO
from pathlib import Path

from app.contract.exit_codes import STALLED

logger = logging.getLogger(__name__)

_ABORT_SECONDS = 10.0  # to record the reason before the end; Redis may be away
_MAX_CHECK_SECONDS = 1.0
_CHECK_SLACK_SECONDS = 2.0  # a check that is later than this was delayed together with the whole process
_SUFFIX = ".stack"
_CONTEXT_BYTES = 2048  # of the first line of a crash report: a few names
_MAX_REPORT_AGE_SECONDS = 86_400  # of files of workers that were killed
_TIMER_SLACK_SECONDS = 5.0


@dataclass(frozen=True)
class CrashContext:
    """The model call during which a process may be ended without a chance to report.

    Attributes:
        worker: its name.
        job: id of the job.
        attempt: of the job; see `attempt_of`.
        model: that is called.
        seconds: for how long the model may hold the interpreter lock.
        since: when that time began, in seconds since the epoch.
    """

    worker: str
    job: str
    attempt: str
    model: str
    seconds: float
    since: float


@dataclass(frozen=True)
class CrashReport:
    """What is left of a worker that ended itself.

    Attributes:
        context: of the end.
        stack: of every thread.
        frozen: whether the whole process had been stopped, so that the model is not the cause.
    """

    context: CrashContext
    stack: str
    frozen: bool


@dataclass(frozen=True)
class WatchedJob:
    """A job under watch.

    Attributes:
        job: its id.
        attempt: of the job; see `attempt_of`.
        seconds: its time limit.
        report: called before the end with the model and the seconds without progress; None stands for the whole job.
    """

    job: str
    attempt: str
    seconds: float
    report: Callable[[str | None, float], None]


class Watchdog:
    """Watches one job at a time.

    Args:
        worker: name of the worker.
        stall_seconds: longest time without progress in a model call.
        blocked_seconds: longest time that a model may hold the interpreter lock.
        folder: of crash reports.
    """

    def __init__(self, worker: str, *, stall_seconds: float, blocked_seconds: float, folder: Path) -> None:
        self._worker = worker
        self._stall_seconds = stall_seconds
        self._blocked_seconds = blocked_seconds
        self._path = folder / f"{worker}{_SUFFIX}"
        self._pause = min(_MAX_CHECK_SECONDS, stall_seconds / 10)
        self._lock = threading.Lock()  # between the thread and the beginning and end of jobs
        self._job: WatchedJob | None = None
        self._file: FileIO | None = None
        self._overdue_at = self._kicked_at = float("inf")
        self._model: str | None = None
        self._armed = False  # the timer

    def start(self) -> None:
        """Start the thread; it runs until the process ends."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextmanager
    def watch_job(self, job: WatchedJob) -> Iterator[None]:
        """Watch a job."""
        with self._lock:
            self._job, self._file, self._model = job, self._open_report(), None
            self._overdue_at = time.monotonic() + job.seconds + self._stall_seconds
        try:
            yield
        finally:
            with self._lock:
                self._disarm()
                if self._file is not None:
                    self._file.close()
                    self._path.unlink(missing_ok=True)
                self._job, self._file = None, None

    @contextmanager
    def watch_model(self, model_id: str) -> Iterator[None]:
        """Watch a model call: `kick` must be called from time to time."""
        self.kick()
        self._model = model_id
        try:
            if not self._armed:  # at once, because the thread may not get the interpreter lock any more
                with self._lock:
                    self._rearm()
            yield
        finally:
            self._model = None

    def kick(self) -> None:
        """Record that there is progress."""
        self._kicked_at = time.monotonic()

    def _open_report(self) -> FileIO | None:
        try:
            return FileIO(self._path, "w")
        except OSError as error:  # because a full disk is no reason not to work
            logger.warning("no crash report can be written: %s", error)
            return None

    def _run(self) -> None:
        checked_at = time.monotonic()
        while True:
            time.sleep(self._pause)
            now = time.monotonic()
            if now - checked_at > self._pause + _CHECK_SLACK_SECONDS:
                self.kick()  # because nothing ran meanwhile: the process was stopped, or starved
            checked_at = now
            try:
                self._check(now)
            except Exception:  # because without this thread a model that hangs keeps its worker for ever
                logger.exception("a check of the watchdog failed")

    def _check(self, now: float) -> None:
        with self._lock:
            job, stall = self._job, self._find_stall(now)
            if job is None:
                return
            if stall is None:
                self._rearm()
        if stall is not None:
            self._abort(job, *stall)

    def _find_stall(self, now: float) -> tuple[str | None, float] | None:
        """Return the model and the seconds without progress; None where nothing is too late."""
        model, seconds = self._model, now - self._kicked_at
        if model is not None and seconds > self._stall_seconds:
            return model, seconds
        return (None, now - self._overdue_at + self._stall_seconds) if now > self._overdue_at else None

    def _disarm(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._armed = False

    def _rearm(self) -> None:
        """Restart the timer during a model call of a job; stop it otherwise, because nothing would stop it later."""
        job, model = self._job, self._model
        if model is None or job is None:
            self._disarm()
            return
        if self._file is not None:
            context = CrashContext(self._worker, job.job, job.attempt, model, self._blocked_seconds, time.time())
            try:
                write_crash_context(self._file, context)
            except OSError as error:  # because a full disk is no reason to stop watching
                logger.warning("no crash report can be written: %s", error)
        faulthandler.dump_traceback_later(self._blocked_seconds, exit=True, file=self._file or sys.stderr)
        self._armed = True

    def _abort(self, job: WatchedJob, model: str | None, seconds: float) -> None:
        faulthandler.dump_traceback_later(_ABORT_SECONDS, exit=True, file=self._file or sys.stderr)
        what = f"model {model!r}" if model is not None else "a job past its time limit"
        try:
            logger.error("%s made no progress for %.0f s: this worker ends itself, job %s", what, seconds, job.job)
            faulthandler.dump_traceback()
            job.report(model, seconds)
        finally:
            os._exit(STALLED)


def crash_folder(data: Path) -> Path:
    """Return a folder that outlives the process: below `data`, or a temporary one where that cannot be written."""
    for parent in (data.expanduser(), Path(tempfile.gettempdir()) / f"rise-serve-{os.getuid()}"):
        folder = parent / "stacks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="rise-serve-"))


def write_crash_context(file: FileIO, context: CrashContext) -> None:
    """Make the context the first line of a crash report.

    In place and as long as before, because the timer may be writing a stack behind it just then.
    """
    line = json.dumps(asdict(context)).encode().ljust(_CONTEXT_BYTES - 1) + b"\n"
    if file.tell() == 0:
        file.write(line)
    else:
        os.pwrite(file.fileno(), line, 0)


def collect_crash_reports(folder: Path) -> Iterator[CrashReport]:
    """Yield the crash reports in a folder, each once, and delete them."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        try:
            first, _, stack = path.read_text(errors="replace").partition("\n")
            written_at = path.stat().st_mtime
            if stack or time.time() - written_at > _MAX_REPORT_AGE_SECONDS:
                path.unlink()
        except FileNotFoundError:  # because another worker of this machine was faster
            continue
        if not stack:
            continue
        try:
            values = json.loads(first)
            context = CrashContext(**{part.name: values[part.name] for part in fields(CrashContext)})
        except (ValueError, KeyError, TypeError):  # because a disk may have been full
            logger.warning("%s does not say of which worker it is:\n%s", path, stack)
            continue
        yield CrashReport(context, stack, frozen=_was_frozen(written_at - context.since, context.seconds))


def _was_frozen(elapsed: float, seconds: float) -> bool:
    """Return whether a timer fired much later than it was set to, or was an earlier one that had been pending."""
    return elapsed > seconds + _TIMER_SLACK_SECONDS or elapsed < seconds / 2
