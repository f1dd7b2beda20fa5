"""Admission control: a bounded queue, a quota of unfinished explanations per API key, estimates of waiting times.

The bounds of a queue are checked, not locked: requests that are checked at the same moment, or by other front ends
within a quarter of a second, may exceed them by their number. Quotas are counted exactly.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from app.admission.backlog import Backlog, BacklogReader
from app.admission.limits import ConcurrencyQuota
from app.auth.principal import Principal
from app.contract.errors import RiseError
from app.contract.queue.throughput import ServiceTimes
from app.contract.settings import Settings

_FRESH_SECONDS = 0.25
_MIN_RETRY_SECONDS = 1.0


class AdmissionController:
    """Admits explanations to queues, by the backlog of each queue as it was a moment ago."""

    def __init__(self, settings: Settings, backlogs: BacklogReader, quota: ConcurrencyQuota) -> None:
        self._settings = settings
        self._backlogs = backlogs
        self._quota = quota
        self._lock = threading.Lock()
        self._cached: dict[str, tuple[float, Backlog]] = {}
        self._reading = asyncio.Lock()

    @asynccontextmanager
    async def admit(
        self, explanation_id: str, principal: Principal, *, queue: str, workers: int
    ) -> AsyncIterator["AdmissionSlot"]:
        """Reserve a slot for a new explanation; it is released if the block raises.

        Args:
            explanation_id: takes one slot of the quota however often it is requested.
            principal: whose quota is counted.
            queue: that the explanation will wait in.
            workers: how many take jobs from it.

        Raises:
            RiseError: `busy` or `too-many-requests`, with the seconds after which there may be room.
        """
        backlog = await self._backlog(queue)
        self._check_queue(backlog, workers)
        slot = AdmissionSlot(self, explanation_id, queue, workers, backlog.service_times)
        key, limit = principal.key, principal.limits.max_pending
        if key is None or limit is None:
            yield slot
            return
        if not await run_in_threadpool(self._quota.reserve, key, explanation_id, limit):
            detail = f"this key may have {limit} explanations queued or running"
            raise RiseError("too-many-requests", detail, retry_after_seconds=_retry_seconds(backlog, workers))
        try:
            yield slot
        except BaseException:
            await run_in_threadpool(self._quota.release, key, explanation_id)
            raise
        await run_in_threadpool(self._quota.keep, key, explanation_id)

    def eta_seconds(self, explanation_id: str, *, queue: str, workers: int) -> float | None:
        """Return the estimated seconds until a waiting explanation has ended; None if it does not wait."""
        seconds = self._seconds_until_end(self._recent(queue), explanation_id)
        if seconds is None:
            seconds = self._seconds_until_end(self._read(queue), explanation_id)
        return None if seconds is None else _elapsed_seconds(seconds, workers)

    def add(self, explanation_id: str, *, queue: str, seconds: float, position: int | None) -> float | None:
        """Add an explanation to the cached backlog, so that the queue need not be read again for it.

        Where it was the last that fits, the cache is dropped instead: some of what it counts may have left the queue.

        Returns:
            The work up to its end, in seconds of one worker; None where the queue has to be read.
        """
        with self._lock:
            _, backlog = self._cached.get(queue, (0.0, None))
            if backlog is None or position is None or len(backlog) + 1 >= self._settings.max_queued:
                self._cached.pop(queue, None)
                return None
            backlog.add(explanation_id, seconds, position)
            return backlog.seconds_until_end(explanation_id)

    def _seconds_until_end(self, backlog: Backlog | None, explanation_id: str) -> float | None:
        with self._lock:
            return None if backlog is None else backlog.seconds_until_end(explanation_id)

    def _check_queue(self, backlog: Backlog, workers: int) -> None:
        waiting, bound = len(backlog), self._settings.max_queued_seconds
        if waiting >= self._settings.max_queued:
            detail = f"{waiting} explanations wait already; at most {self._settings.max_queued} may"
            raise RiseError("busy", detail, retry_after_seconds=_retry_seconds(backlog, workers))
        seconds = backlog.seconds / workers
        if seconds > bound:
            detail = f"about {seconds:.0f} seconds of work wait already; at most {bound:.0f} may"
            raise RiseError("busy", detail, retry_after_seconds=max(_MIN_RETRY_SECONDS, seconds - bound))

    async def _backlog(self, queue: str) -> Backlog:
        """Return the backlog as it is or was a moment ago: a full queue is not read again for every refusal."""
        recent = self._recent(queue)
        if recent is not None:
            return recent
        async with self._reading:
            recent = self._recent(queue)
            return await run_in_threadpool(self._read, queue) if recent is None else recent

    def _recent(self, queue: str) -> Backlog | None:
        read_at, backlog = self._cached.get(queue, (0.0, None))
        return backlog if time.monotonic() - read_at <= _FRESH_SECONDS else None

    def _read(self, queue: str) -> Backlog:
        backlog = self._backlogs.read(queue)
        with self._lock:
            self._cached[queue] = (time.monotonic(), backlog)
        return backlog


@dataclass(frozen=True)
class AdmissionSlot:
    """Permission to enqueue one explanation.

    Attributes:
        service_times: what the backlog of its queue was estimated with.
    """

    _controller: AdmissionController
    _explanation_id: str
    _queue: str
    _workers: int
    service_times: ServiceTimes

    def enqueued(self, position: int | None, *, seconds: float) -> float | None:
        """Count the explanation as waiting.

        Args:
            position: jobs before it; None where that is not known.
            seconds: its estimated work.

        Returns:
            The estimated seconds until it has ended; None where the queue has to be read.
        """
        add = self._controller.add
        work = add(self._explanation_id, queue=self._queue, seconds=seconds, position=position)
        return None if work is None else _elapsed_seconds(work, self._workers)


def _elapsed_seconds(work_seconds: float, workers: int) -> float:
    """Return the estimated seconds in which `workers` do so much work of one worker."""
    return round(work_seconds / workers, 1)


def _retry_seconds(backlog: Backlog, workers: int) -> float:
    """Return the estimated seconds until the next explanation ends and makes room."""
    jobs = len(backlog) + workers
    return max(_MIN_RETRY_SECONDS, backlog.seconds / jobs / workers)
