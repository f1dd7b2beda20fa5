"""Calls: short functions that a worker runs while a client waits for the result.

A call may wait for half a minute. Results are polled in a thread pool of their own, for a second at a time, so that
waiting calls neither occupy the threads of other requests nor block each other.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from anyio import CancelScope, CapacityLimiter, fail_after, to_thread
from fastapi import Request
from rq.job import Job
from rq.results import Result
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.auth.principal import Principal
from app.contract.errors import RiseError, reported_error
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import JobQueue
from app.contract.queue.rq_compat import is_abandoned

T = TypeVar("T")

CALL_SECONDS = 30.0
MAX_CALLS_PER_CALLER = 16  # that wait in this process, with an image each
_MAX_POLLING_THREADS = 32
_RETRY_SECONDS = 1.0
_POLL_SECONDS = 1  # per call of Redis: the client's socket times out after five seconds


class WorkerCalls:
    """Calls functions on workers.

    Args:
        jobs: the queues.
    """

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs
        self._polling_threads = CapacityLimiter(_MAX_POLLING_THREADS)
        self._waiting = Counter[str]()

    async def call(
        self, caller: Principal, queue: str, function: str, *arguments: Any, tags: SchedulingTags | None = None
    ) -> Any:
        """Run a short function on a worker and return its result.

        A call that is cancelled or times out is removed from the queue, unless it runs already.

        Args:
            caller: whose waiting calls are limited.
            queue: of the workers that can run it.
            function: its name.
            arguments: of the function.
            tags: its place in the queue; None for a very short function, which goes first.

        Raises:
            RiseError: what the function raises, `too-many-requests`, `busy` if no worker responds in time,
                `unavailable` if one is lost.
        """
        name = uuid.uuid4().hex
        enqueue = partial(self._jobs.ask, queue, function, *arguments, seconds=CALL_SECONDS, tags=tags, name=name)
        with self._limit_per_caller(caller):
            reply = await self._result(name, enqueue)
        if "code" in reply:
            raise reported_error(reply["code"], reply["detail"])
        return reply["found"]

    @contextmanager
    def _limit_per_caller(self, caller: Principal) -> Iterator[None]:
        name = caller.key or caller.tenant
        if self._waiting[name] >= MAX_CALLS_PER_CALLER:
            detail = f"{MAX_CALLS_PER_CALLER} calls of yours wait for a worker already; wait for their answers"
            raise RiseError("too-many-requests", detail, retry_after_seconds=_RETRY_SECONDS)
        self._waiting[name] += 1
        try:
            yield
        finally:
            self._waiting[name] -= 1
            self._waiting += Counter()  # which drops counts of zero

    async def _result(self, name: str, enqueue: Callable[[], Job]) -> Any:
        try:
            with fail_after(CALL_SECONDS):
                return await self._poll(await run_in_threadpool(enqueue))
        except ConnectionAbortedError as cause:
            detail = "the worker that was asked was lost; try again"
            raise RiseError("unavailable", detail) from cause
        except TimeoutError as cause:
            fire_and_forget(self._jobs.remove, name)
            raise RiseError("busy", "every worker is busy; try again", retry_after_seconds=CALL_SECONDS) from cause
        except asyncio.CancelledError:
            fire_and_forget(self._jobs.remove, name)
            raise

    async def _poll(self, job: Job) -> Any:
        while True:
            reply = await to_thread.run_sync(poll_result, job, limiter=self._polling_threads)
            if reply is not None:
                return reply


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


def fire_and_forget(function: Callable[[str], object], name: str) -> None:
    """Run a function in a thread without waiting for it; the end of this process waits."""
    asyncio.get_running_loop().run_in_executor(None, function, name)


async def cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Return the result of some work, which is cancelled when the client disconnects.

    Raises:
        ClientDisconnect: when the client has disconnected.
    """
    with CancelScope() as scope:
        watch = asyncio.create_task(_cancel_when_disconnected(request, scope))
        try:
            return await work
        finally:
            watch.cancel()
    raise ClientDisconnect


async def _cancel_when_disconnected(request: Request, scope: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
