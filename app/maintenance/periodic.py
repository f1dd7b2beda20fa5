"""The runner of every background task of a process.

A run that raises is logged with its traceback, counted, and followed by the next run, whatever the exception is: a
background task that ends is missed by nobody until its work has piled up.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from prometheus_client import Counter
from starlette.concurrency import run_in_threadpool

from app.contract.redis.leases import Leases

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

FAILURES = Counter("rise_background_failures", "Runs of background tasks that raised.", ["task"])

_LONGEST_PAUSE_SECONDS = 10.0
_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class PeriodicTask:
    """A function that is called again and again.

    Attributes:
        name: in logs and metrics.
        function: one run.
        interval_seconds: between the end of a run and the next run; doubled after every failure in a row, up to 10.
    """

    name: str
    function: Callable[[], Awaitable[object]]
    interval_seconds: float


@asynccontextmanager
async def running(*tasks: PeriodicTask, grace_seconds: float = _GRACE_SECONDS) -> AsyncIterator[None]:
    """Run tasks beside the block; at its end cancel and await them.

    Args:
        tasks: what to run.
        grace_seconds: for which a cancelled run may go on; then it is cancelled again, and abandoned after as long.
    """
    started = [asyncio.create_task(_run_periodically(task), name=task.name) for task in tasks]
    try:
        yield
    finally:
        await _stop(started, grace_seconds)


async def _stop(tasks: Sequence[asyncio.Task[None]], grace_seconds: float) -> None:
    left = set(tasks)
    for _ in range(2):
        for task in left:
            task.cancel()
        if left:
            _, left = await asyncio.wait(left, timeout=grace_seconds)
    for task in left:
        logger.warning("background task %s does not end", task.get_name())


async def _run_periodically(task: PeriodicTask) -> None:
    failures, pause = FAILURES.labels(task.name), task.interval_seconds
    while not _is_cancelled():  # because what a run awaits may have swallowed the cancellation
        await asyncio.sleep(pause)
        if await _succeeds(task):
            pause = task.interval_seconds
        else:
            failures.inc()
            pause = min(2 * pause, max(task.interval_seconds, _LONGEST_PAUSE_SECONDS))


async def _succeeds(task: PeriodicTask) -> bool:
    try:
        await task.function()
    except asyncio.CancelledError:  # of something that was awaited, or of this task
        if _is_cancelled():
            raise
        logger.exception("background task %s failed", task.name)
    except Exception:
        logger.exception("background task %s failed", task.name)
    else:
        return True
    return False


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def exclusive(
    leases: Leases, name: str, function: Callable[[], None], *, seconds: float
) -> Callable[[], Awaitable[None]]:
    """Return a run that calls a function in a thread, unless some process has done so in the last `seconds`."""

    def call() -> None:
        if leases.try_acquire(name, seconds=seconds):
            function()

    async def run() -> None:
        await _finish(run_in_threadpool(call))

    return run


def consumer(
    name: str,
    lease: Callable[[int], Sequence[Item]],
    handle: Callable[[Item], Awaitable[None]],
    *,
    describe: Callable[[Item], str],
    concurrency: int,
    interval_seconds: float,
) -> PeriodicTask:
    """Return a task that takes items from a queue and handles several of them at once.

    An item whose handler raises stays leased: it is due again when its lease runs out.

    Args:
        name: in logs and metrics.
        lease: returns at most so many items that are due; called in a thread.
        handle: what to do with one.
        describe: returns what the log calls an item.
        concurrency: how many are handled at the same time.
        interval_seconds: between two looks at the queue.
    """

    async def handled(item: Item) -> None:
        try:
            await handle(item)
        except Exception:
            FAILURES.labels(name).inc()
            logger.exception("background task %s failed with %s", name, describe(item))

    run = partial(_consume, lease, handled, concurrency=concurrency, interval_seconds=interval_seconds)
    return PeriodicTask(name, run, interval_seconds)


async def _consume(
    lease: Callable[[int], Sequence[Item]],
    handled: Callable[[Item], Awaitable[None]],
    *,
    concurrency: int,
    interval_seconds: float,
) -> None:
    """Handle items until none is due and none is being handled; cancelled, finish those that are leased."""
    handling: set[asyncio.Future[None]] = set()

    async def start(count: int) -> None:
        items = await run_in_threadpool(lease, count)
        handling.update(asyncio.ensure_future(handled(item)) for item in items)

    try:
        while True:
            if len(handling) < concurrency:
                await _finish(start(concurrency - len(handling)))
            if not handling:
                return
            done, _ = await asyncio.wait(handling, timeout=interval_seconds, return_when=asyncio.FIRST_COMPLETED)
            handling -= done
    finally:
        await asyncio.gather(*handling, return_exceptions=True)


async def _finish(work: Awaitable[None]) -> None:
    """Await something that goes on when this is cancelled, because a thread does; await it then, too."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
