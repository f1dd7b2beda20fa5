"""Who is let in: places per key, a bounded queue, and honest times for those who wait or have to come again.

The queue's bounds are looked at, not locked: requests that are checked at the same moment, or at other front ends
within a quarter of a second, may exceed them by their number. A key's places are counted exactly.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.concurrency import run_in_threadpool

from app.admission.backlog import Backlog, BacklogReader
from app.admission.limits import ConcurrencyQuota
from app.auth.principal import Principal
from app.contract.errors import RiseError
from app.contract.settings import Settings

_FRESH_SECONDS = 0.25
_SOONEST_SECONDS = 1.0


class AdmissionController:
    """Lets requests in, one queue after the other, from what each queue's backlog was a moment ago."""

    def __init__(self, settings: Settings, backlogs: BacklogReader, pending: ConcurrencyQuota) -> None:
        self._settings = settings
        self._backlogs = backlogs
        self._pending = pending
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, Backlog]] = {}
        self._reading = asyncio.Lock()

    async def backlog(self, queue: str) -> Backlog:
        """Return the backlog as it is or was a moment ago: a full queue is not read again for every refusal."""
        recent = self._recent(queue)
        if recent is not None:
            return recent
        async with self._reading:
            recent = self._recent(queue)
            return await run_in_threadpool(self._read, queue) if recent is None else recent

    @asynccontextmanager
    async def place(
        self, backlog: Backlog, workers: int, caller: Principal, explanation_id: str
    ) -> AsyncIterator[None]:
        """Let a new explanation in, and give its place back if it is not made in this block.

        Args:
            backlog: of the queue where it is to wait.
            workers: how many take from there.
            caller: whose key's places are counted.
            explanation_id: takes one place however often it is asked for.

        Raises:
            RiseError: `busy` or `too-many-requests`, with the seconds after which there may be room.
        """
        self._check_queue(backlog, workers)
        key, limit = caller.key, caller.limits.max_pending
        if key is None or limit is None:
            yield
            return
        if not await run_in_threadpool(self._pending.reserve, key, explanation_id, limit):
            detail = f"this key may have {limit} explanations queued or running"
            raise RiseError("too-many-requests", detail, retry_after_seconds=_pause(backlog, workers))
        try:
            yield
        except BaseException:
            await run_in_threadpool(self._pending.release, key, explanation_id)
            raise
        await run_in_threadpool(self._pending.keep, key, explanation_id)

    def joined(self, queue: str, explanation_id: str, seconds: float, position: int | None) -> float | None:
        """Take note of an explanation that waits from now on, so that the queue need not be read again for it.

        Where it was the last that fits, the queue is read again after all: what was noted may have left meanwhile.

        Returns:
            The work up to its end, in seconds of one worker; None where it has to be looked up.
        """
        with self._lock:
            _, backlog = self._seen.get(queue, (0.0, None))
            if backlog is None or position is None or len(backlog) + 1 >= self._settings.max_queued:
                self._seen.pop(queue, None)
                return None
            backlog.join(explanation_id, seconds, position)
            return backlog.seconds_until_end(explanation_id)

    def eta_seconds(self, queue: str, workers: int, explanation_id: str) -> float | None:
        """Return the estimated seconds until a waiting explanation has ended; None if it does not wait."""
        seconds = self._seconds_until_end(self._recent(queue), explanation_id)
        if seconds is None:
            seconds = self._seconds_until_end(self._read(queue), explanation_id)
        return None if seconds is None else eta_seconds_of(seconds, workers)

    def _seconds_until_end(self, backlog: Backlog | None, explanation_id: str) -> float | None:
        with self._lock:
            return None if backlog is None else backlog.seconds_until_end(explanation_id)

    def _check_queue(self, backlog: Backlog, workers: int) -> None:
        waiting, bound = len(backlog), self._settings.max_queued_seconds
        if waiting >= self._settings.max_queued:
            detail = f"{waiting} explanations wait already; at most {self._settings.max_queued} may"
            raise RiseError("busy", detail, retry_after_seconds=_pause(backlog, workers))
        seconds = backlog.seconds / workers
        if seconds > bound:
            detail = f"about {seconds:.0f} seconds of work wait already; at most {bound:.0f} may"
            raise RiseError("busy", detail, retry_after_seconds=max(_SOONEST_SECONDS, seconds - bound))

    def _recent(self, queue: str) -> Backlog | None:
        read_at, backlog = self._seen.get(queue, (0.0, None))
        return backlog if time.monotonic() - read_at <= _FRESH_SECONDS else None

    def _read(self, queue: str) -> Backlog:
        backlog = self._backlogs.read(queue)
        with self._lock:
            self._seen[queue] = (time.monotonic(), backlog)
        return backlog


def eta_seconds_of(seconds: float, workers: int) -> float:
    """Return the estimated seconds until so much work of one worker has been done by some."""
    return round(seconds / workers, 1)


def _pause(backlog: Backlog, workers: int) -> float:
    """Return the estimated seconds until the next explanation ends and makes room."""
    jobs = len(backlog) + workers
    return max(_SOONEST_SECONDS, backlog.seconds / jobs / workers)
