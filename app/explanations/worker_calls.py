"""Calls: short functions that a worker runs while a client waits for the answer.

They may wait for half a minute, so they listen on threads of their own, and each only for a second at a time: however
many wait, nobody else's turn of a thread depends on it, and none of them is left out.
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
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.auth.principal import Principal
from app.contract.errors import RiseError, reported_error
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import JobQueue
from app.explanations.call_results import poll_result

T = TypeVar("T")

CALL_SECONDS = 30.0
MOST_OF_ONE = 16  # calls of one caller that wait in this process, with an image each
_LISTENERS = 32
_SOONEST_SECONDS = 1.0


class WorkerCalls:
    """Asks workers.

    Args:
        jobs: the queues.
    """

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs
        self._listeners = CapacityLimiter(_LISTENERS)
        self._waiting = Counter[str]()

    async def answer(
        self, caller: Principal, queue: str, function: str, *arguments: Any, turn: SchedulingTags | None = None
    ) -> Any:
        """Run a short function on a worker and return what it found.

        A call that is given up does not run, unless it runs already.

        Args:
            caller: who waits for it.
            queue: of the workers that can.
            function: its name.
            arguments: of the function.
            turn: decides where it waits; None for what takes next to no time, and goes before everything.

        Raises:
            RiseError: what went wrong there, `too-many-requests`, `busy` if no worker answers in time, `unavailable`
                if one is lost.
        """
        name = uuid.uuid4().hex
        ask = partial(self._jobs.ask, queue, function, *arguments, seconds=CALL_SECONDS, turn=turn, name=name)
        with self._place(caller):
            answer = await self._answer(name, ask)
        if "code" in answer:
            raise reported_error(answer["code"], answer["detail"])
        return answer["found"]

    @contextmanager
    def _place(self, caller: Principal) -> Iterator[None]:
        name = caller.key or caller.tenant
        if self._waiting[name] >= MOST_OF_ONE:
            detail = f"{MOST_OF_ONE} calls of yours wait for a worker already; wait for their answers"
            raise RiseError("too-many-requests", detail, retry_after_seconds=_SOONEST_SECONDS)
        self._waiting[name] += 1
        try:
            yield
        finally:
            self._waiting[name] -= 1
            self._waiting += Counter()  # forgets whoever has none

    async def _answer(self, name: str, ask: Callable[[], Job]) -> Any:
        try:
            with fail_after(CALL_SECONDS):
                return await self._listen(await run_in_threadpool(ask))
        except ConnectionAbortedError as cause:
            detail = "the worker that was asked was lost; try again"
            raise RiseError("unavailable", detail) from cause
        except TimeoutError as cause:
            fire_and_forget(self._jobs.remove, name)
            raise RiseError("busy", "every worker is busy; try again", retry_after_seconds=CALL_SECONDS) from cause
        except asyncio.CancelledError:
            fire_and_forget(self._jobs.remove, name)
            raise

    async def _listen(self, asked: Job) -> Any:
        while True:
            answer = await to_thread.run_sync(poll_result, asked, limiter=self._listeners)
            if answer is not None:
                return answer


def fire_and_forget(function: Callable[[str], object], name: str) -> None:
    """Run a function on a thread and keep nobody waiting for it but the end of this process."""
    asyncio.get_running_loop().run_in_executor(None, function, name)


async def cancel_on_disconnect(request: Request, work: Awaitable[T]) -> T:
    """Return what comes of some work, which is cancelled when the client goes away.

    Raises:
        ClientDisconnect: to nobody.
    """
    with CancelScope() as scope:
        watch = asyncio.create_task(_cancel_when_gone(request, scope))
        try:
            return await work
        finally:
            watch.cancel()
    raise ClientDisconnect


async def _cancel_when_gone(request: Request, scope: CancelScope) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
