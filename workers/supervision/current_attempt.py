"""The attempt at a job that runs in this process, and model calls under its supervision.

Like the context of log lines, the attempt belongs to the job and not to one function, so it is a context variable and
no argument. Without supervision (the command line, tests) a model call only adds the model's name to its failure.
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
from workers.supervision.failures import BrokenDeviceError, is_sticky_device_error
from workers.supervision.retry_policy import RetryPolicy, attempt_of
from workers.supervision.watchdog import Watchdog, WatchedJob

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DEFAULT_SECONDS = 3600.0  # of a job to which RQ gives no time limit


class ShutdownRequested(Exception):  # noqa: N818 - nothing is wrong
    """The worker is stopping; the explanation continues from its last checkpoint, elsewhere."""


class OwnershipLost(Exception):  # noqa: N818 - nothing is wrong
    """The explanation was cancelled, or belongs to another execution by now."""


@dataclass
class Attempt:
    """An attempt under supervision.

    Attributes:
        job: what is attempted.
        watchdog: is kicked by progress.
        retries: records failures.
        stopping: set when the worker is to stop.
        device_broke: whether the process must end after it.
    """

    job: Job
    watchdog: Watchdog
    retries: RetryPolicy
    stopping: threading.Event
    device_broke: bool = False


_CURRENT: ContextVar[Attempt | None] = ContextVar("attempt", default=None)


@contextmanager
def supervised_attempt(
    job: Job,
    execution: Execution,
    worker: BaseWorker,
    *,
    watchdog: Watchdog,
    retries: RetryPolicy,
    stopping: threading.Event,
) -> Iterator[Attempt]:
    """Supervise an attempt at a job."""

    def on_stall(model: str | None, seconds: float) -> None:
        retries.on_stall(job, execution, worker, model, seconds)

    attempt = Attempt(job, watchdog, retries, stopping)
    token = _CURRENT.set(attempt)
    try:
        with watchdog.watch_job(WatchedJob(job.id, attempt_of(job), float(job.timeout or _DEFAULT_SECONDS), on_stall)):
            yield attempt
    finally:
        _CURRENT.reset(token)


@contextmanager
def model_call(model_id: str) -> Iterator[None]:
    """Watch a model call inside, and turn whatever it raises into a failure that names the model.

    A model is foreign code. Exceptions of this project's own code inside, and the end of the process, are not changed.

    Raises:
        RiseError: `timed-out`, `model-failed` or `out-of-memory`.
        BrokenDeviceError: where the device broke under the model.
    """
    attempt = _CURRENT.get()
    try:
        with attempt.watchdog.watch_model(model_id) if attempt else nullcontext():
            yield
    except (RiseError, ShutdownRequested, OwnershipLost):
        raise
    except JobTimeoutException as cause:
        raise RiseError("timed-out", f"its time was up while model {model_id!r} was asked: {cause}") from cause
    except BlackBoxError as cause:
        raise RiseError("model-failed", f"model {model_id!r} failed: {cause}") from cause
    except torch.OutOfMemoryError as cause:
        raise RiseError("out-of-memory", f"model {model_id!r} does not fit into the device's memory") from cause
    except Exception as cause:
        logger.exception("model %s failed", model_id)
        if is_sticky_device_error(cause):
            raise _broken_device(model_id, cause) from cause
        raise RiseError("model-failed", f"model {model_id!r} raised {type(cause).__name__}: {cause}") from cause
    except SystemExit as cause:
        if attempt is not None and attempt.stopping.is_set():  # RQ raises it at the second request to stop
            raise
        raise RiseError("model-failed", f"model {model_id!r} tried to end the process") from cause


def signal_progress() -> None:
    """Kick the watchdog, where there is one."""
    attempt = _CURRENT.get()
    if attempt is not None:
        attempt.watchdog.kick()


def with_progress_signal(score: Callable[[Tensor], T]) -> Callable[[Tensor], T]:
    """Return a function of a batch of which each call signals progress, and ends where the worker is to stop.

    Per batch, because a block may take longer than a stopping worker is given.

    Raises:
        ShutdownRequested: by the function, once the worker is to stop.
    """

    def scored(masked: Tensor) -> T:
        attempt = _CURRENT.get()
        if attempt is not None:
            if attempt.stopping.is_set():
                raise ShutdownRequested
            attempt.watchdog.kick()
        return score(masked)

    return scored


def _broken_device(model_id: str, cause: Exception) -> BrokenDeviceError:
    """Return the error for a device that broke under a model, and record it."""
    detail = f"the device broke under model {model_id!r}: {type(cause).__name__}: {cause}"
    attempt = _CURRENT.get()
    if attempt is not None:
        attempt.device_broke = True
        attempt.retries.on_broken_device(attempt.job, model_id, Failure(code="model-failed", detail=detail))
    return BrokenDeviceError("model-failed", detail)
