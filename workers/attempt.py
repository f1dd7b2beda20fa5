"""The attempt at a job that runs in this process now, for whatever asks a model to say so.

Like the names in log lines it belongs to the job and not to any one function, so it is found here and not handed down:
where nothing is supervised (the command line, tests) asking a model is asking a model and nothing else.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from rq.executions import Execution
from rq.job import Job
from rq.worker import BaseWorker
from torch import Tensor

from app.contract.schemas import Failure
from workers.attempts import Attempts, attempt_of
from workers.breakage import BrokenDeviceError
from workers.watchdog import Watchdog, Watched

T = TypeVar("T")

_LONGEST_SECONDS = 3600.0  # of a job that RQ gives no limit


class Stopped(Exception):  # noqa: N818 - nothing is wrong
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
def attempting(
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
        with watchdog.watching(Watched(job.id, attempt_of(job), float(job.timeout or _LONGEST_SECONDS), report)):
            yield attempt
    finally:
        _PRESENT.reset(token)


@contextmanager
def asking(model_id: str) -> Iterator[None]:
    """Say that a model is asked inside, which must show signs of life."""
    attempt = _PRESENT.get()
    if attempt is None:
        yield
        return
    with attempt.watchdog.asking(model_id):
        yield


def lively(score: Callable[[Tensor], T]) -> Callable[[Tensor], T]:
    """Return a function of a batch whose every call is a sign of life, and the moment for a worker to stop.

    A block may take longer than a worker that was asked to leave is given.

    Raises:
        Stopped: by the function, once the worker is asked to stop.
    """

    def scored(masked: Tensor) -> T:
        attempt = _PRESENT.get()
        if attempt is not None:
            if attempt.stopping.is_set():
                raise Stopped
            attempt.watchdog.sign()
        return score(masked)

    return scored


def broken_device(model_id: str, cause: Exception) -> BrokenDeviceError:
    """Return the error for a device that broke under a model, and note it."""
    detail = f"the device broke under model {model_id!r}: {type(cause).__name__}: {cause}"
    attempt = _PRESENT.get()
    if attempt is not None:
        attempt.device_broke = True
        attempt.attempts.device_broke(attempt.job, model_id, Failure(code="model-failed", detail=detail))
    return BrokenDeviceError("model-failed", detail)
