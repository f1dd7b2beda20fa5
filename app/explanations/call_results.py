"""Polls the results of short calls of workers."""

from typing import Any

from rq.job import Job
from rq.results import Result

from app.contract.queue.rq_compat import is_abandoned

_POLL_SECONDS = 1  # per call of Redis: the client's socket times out after five seconds


def poll_result(job: Job) -> Any:
    """Return the result of a call; None if there is none within a second.

    Raises:
        ConnectionAbortedError: if the worker was lost meanwhile.
        RuntimeError: if it failed there.
    """
    result = job.latest_result(timeout=_POLL_SECONDS)
    if result is None:
        return None
    if is_abandoned(result):
        raise ConnectionAbortedError(f"the worker was lost that ran {job.func_name}")
    if result.type != Result.Type.SUCCESSFUL:
        raise RuntimeError(f"{job.func_name} failed on the worker")
    return result.return_value
