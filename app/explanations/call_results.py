"""What comes of what a worker was asked to do while somebody waits."""

from typing import Any

from rq.job import Job
from rq.results import Result

from app.contract.queue.rq_compat import is_abandoned

_LISTEN_SECONDS = 1  # at once: a client takes a server that says nothing for five seconds for lost


def poll_result(asked: Job) -> Any:
    """Return what a function has found on a worker; None if nothing comes within a second.

    Raises:
        ConnectionAbortedError: if the worker was lost meanwhile.
        RuntimeError: if it failed there.
    """
    result = asked.latest_result(timeout=_LISTEN_SECONDS)
    if result is None:
        return None
    if is_abandoned(result):
        raise ConnectionAbortedError(f"the worker was lost that ran {asked.func_name}")
    if result.type != Result.Type.SUCCESSFUL:
        raise RuntimeError(f"{asked.func_name} failed on the worker")
    return result.return_value
