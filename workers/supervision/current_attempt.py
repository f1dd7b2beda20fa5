"""The attempt at a job that runs in this process now, and the calls of models under its supervision.

Like the names in log lines it belongs to the job and not to any one function, so it is found here and not handed down:
where nothing is supervised (the command line, tests) a call of a model is only given the model's name when it fails.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import torch
from rq.executions import Execution
from rq.job import Job
from rq.timeouts import JobTimeoutException
from rq.worker import BaseWorker
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.schemas import Failure
from workers.blackbox import BlackBoxError
from workers.supervision.failures import BrokenDeviceError, breaks_device
from workers.supervision.retry_policy import Attempts, attempt_of
from workers.supervision.watchdog import Watchdog, WatchedJob

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LONGEST_SECONDS = 3600.0  # of a job that RQ gives no limit


class ShutdownRequested(Exception):  # noqa: N818 - nothing is wrong
    """The worker is stopping; the explanation goes on from its last checkpoint, elsewhere."""


@dataclass
class Attempt:
    """An attempt under supervision.

    Attributes:
        job: what is attempted.
        watchdog: looks for signs of life.
        attempts: notes how it ends.
        stopping: set when the worker is asked to stop.
        device_broke: whether the process must end with it.
    """

    job: Job
    watchdog: Watchdog
    attempts: Attempts
    stopping: threading.Event
    device_broke: bool = False


_PRESENT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


@contextmanager
def supervised_attempt(
    job: Job,
    execution: Execution,
    worker: BaseWorker,
    *,
    watchdog: Watchdog,
    attempts: Attempts,
    stopping: threading.Event,
) -> Iterator[Attempt]:
    """Supervise an attempt at a job."""

    def report(model: str | None, seconds: float) -> None:
        attempts.stalled(job, execution, worker, model, seconds)

    attempt = Attempt(job, watchdog, attempts, stopping)
    token = _PRESENT.set(attempt)
    try:
        with watchdog.watching(WatchedJob(job.id, attempt_of(job), float(job.timeout or _LONGEST_SECONDS), report)):
            yield attempt
    finally:
        _PRESENT.reset(token)


@contextmanager
def model_call(model_id: str) -> Iterator[None]:
    """Call a model inside: it must show signs of life, and whatever it raises is a failure that names it.

    A model is somebody else's code. What is raised by this project's own code inside, and the end of the process, go
    through as they are.

    Raises:
        RiseError: `timed-out`, `model-failed` or `out-of-memory`.
        BrokenDeviceError: where the device broke under the model.
    """
    attempt = _PRESENT.get()
    try:
        with attempt.watchdog.asking(model_id) if attempt else nullcontext():
            yield
    except (RiseError, ShutdownRequested):
        raise
    except JobTimeoutException as cause:
        raise RiseError("timed-out", f"its time was up while model {model_id!r} was asked: {cause}") from cause
    except BlackBoxError as cause:
        raise RiseError("model-failed", f"model {model_id!r} failed: {cause}") from cause
    except torch.OutOfMemoryError as cause:
        raise RiseError("out-of-memory", f"model {model_id!r} does not fit into the device's memory") from cause
    except Exception as cause:
        logger.exception("model %s failed", model_id)
        if breaks_device(cause):
            raise _broken_device(model_id, cause) from cause
        raise RiseError("model-failed", f"model {model_id!r} raised {type(cause).__name__}: {cause}") from cause
    except SystemExit as cause:
        if attempt is not None and attempt.stopping.is_set():  # RQ's, because the worker was asked to stop twice
            raise
        raise RiseError("model-failed", f"model {model_id!r} tried to end the process") from cause


def signal_progress() -> None:
    """Tell the watchdog, where there is one, that the model that is called makes progress."""
    attempt = _PRESENT.get()
    if attempt is not None:
        attempt.watchdog.sign()


def with_progress_signal(score: Callable[[Tensor], T]) -> Callable[[Tensor], T]:
    """Return a function of a batch whose every call is a sign of life, and the moment for a worker to stop.

    A block may take longer than a worker that was asked to leave is given.

    Raises:
        Stopped: by the function, once the worker is asked to stop.
    """

    def scored(masked: Tensor) -> T:
        attempt = _PRESENT.get()
        if attempt is not None:
            if attempt.stopping.is_set():
                raise ShutdownRequested
            attempt.watchdog.sign()
        return score(masked)

    return scored


def _broken_device(model_id: str, cause: Exception) -> BrokenDeviceError:
    """Return the error for a device that broke under a model, and note it."""
    detail = f"the device broke under model {model_id!r}: {type(cause).__name__}: {cause}"
    attempt = _PRESENT.get()
    if attempt is not None:
        attempt.device_broke = True
        attempt.attempts.device_broke(attempt.job, model_id, Failure(code="model-failed", detail=detail))
    return BrokenDeviceError("model-failed", detail)
