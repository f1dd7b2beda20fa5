"""Who is let in: places per key, a bounded queue, and honest times for those who wait or have to come again.

The queue's bounds are looked at, not locked: requests that are checked at the same moment, or at other front ends
within a quarter of a second, may exceed them by their number. A key's places are counted exactly.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from app.caller import Caller
from app.catalogue import Catalogue
from app.contract.backlog import Backlog, Backlogs
from app.contract.errors import RiseError
from app.contract.limits import Pending
from app.contract.pace import masks_of, work_of
from app.contract.schemas import Request
from app.contract.settings import Settings
from app.contract.turns import Priority, Turn

_FRESH_SECONDS = 0.25
_SOONEST_SECONDS = 1.0


class Admission:
    """Lets requests in, one queue after the other, from what each queue's backlog was a moment ago."""

    def __init__(self, settings: Settings, backlogs: Backlogs, pending: Pending) -> None:
        self._settings = settings
        self._backlogs = backlogs
        self._pending = pending
        self._lock = threading.RLock()
        self._seen: dict[str, tuple[float, Backlog]] = {}

    @contextmanager
    def place(self, queue: str, workers: int, caller: Caller, explanation_id: str) -> Iterator[None]:
        """Let a new explanation in, and give its place back if it is not made in this block.

        Args:
            queue: where it is to wait.
            workers: how many take from there.
            caller: whose key's places are counted.
            explanation_id: takes one place however often it is asked for.

        Raises:
            RiseError: `busy` or `too-many-requests`, with the seconds after which there may be room.
        """
        backlog = self._recent(queue)
        self._check_queue(backlog, workers)
        with self._place_of_key(caller, explanation_id, soonest=_pause(backlog, workers)):
            yield

    def joined(self, queue: str, explanation_id: str, seconds: float, position: int | None) -> None:
        """Take note of an explanation that waits from now on, so that the queue need not be read again for it.

        Where it was the last that fits, the queue is read again after all: what was noted may have left meanwhile.
        """
        with self._lock:
            _, backlog = self._seen.get(queue, (0.0, None))
            if backlog is None or position is None or len(backlog) + 1 >= self._settings.max_queued:
                self._seen.pop(queue, None)
            else:
                backlog.join(explanation_id, seconds, position)

    def turn(self, catalogue: Catalogue, request: Request, caller: Caller, priority: Priority) -> tuple[str, Turn]:
        """Return on which queue an explanation waits, and what decides where."""
        queue = catalogue.queue_of(request.model.id)
        work, masks = work_of(request), masks_of(request)
        seconds = self._recent(queue).pace.of(work) * masks
        return queue, Turn(tenant=caller.tenant, priority=priority, seconds=seconds, work=work, masks=masks)

    def eta_seconds(self, catalogue: Catalogue, request: Request, explanation_id: str) -> float | None:
        """Return the estimated seconds until a waiting explanation has ended; None if it does not wait."""
        queue = catalogue.queue_of(request.model.id)
        with self._lock:
            seconds = self._recent(queue).seconds_until_end(explanation_id)
            if seconds is None:
                self._seen.pop(queue, None)
                seconds = self._recent(queue).seconds_until_end(explanation_id)
        return None if seconds is None else round(seconds / catalogue.workers_of(queue), 1)

    def _check_queue(self, backlog: Backlog, workers: int) -> None:
        waiting, bound = len(backlog), self._settings.max_queued_seconds
        if waiting >= self._settings.max_queued:
            detail = f"{waiting} explanations wait already; at most {self._settings.max_queued} may"
            raise RiseError("busy", detail, retry_after_seconds=_pause(backlog, workers))
        seconds = backlog.seconds / workers
        if seconds > bound:
            detail = f"about {seconds:.0f} seconds of work wait already; at most {bound:.0f} may"
            raise RiseError("busy", detail, retry_after_seconds=max(_SOONEST_SECONDS, seconds - bound))

    @contextmanager
    def _place_of_key(self, caller: Caller, explanation_id: str, *, soonest: float) -> Iterator[None]:
        limit = caller.limits.max_pending
        if caller.key is None or limit is None:
            yield
            return
        if not self._pending.reserve(caller.key, explanation_id, limit):
            detail = f"this key may have {limit} explanations queued or running"
            raise RiseError("too-many-requests", detail, retry_after_seconds=soonest)
        try:
            yield
        except BaseException:
            self._pending.release(caller.key, explanation_id)
            raise
        self._pending.keep(caller.key, explanation_id)

    def _recent(self, queue: str) -> Backlog:
        """Return the backlog as it is or was a moment ago: a full queue is not read again for every refusal."""
        with self._lock:
            read_at, backlog = self._seen.get(queue, (0.0, None))
            if backlog is None or time.monotonic() - read_at > _FRESH_SECONDS:
                backlog = self._backlogs.read(queue)
                self._seen[queue] = (time.monotonic(), backlog)
            return backlog


def _pause(backlog: Backlog, workers: int) -> float:
    """Return the estimated seconds until the next explanation ends and makes room."""
    jobs = len(backlog) + workers
    return max(_SOONEST_SECONDS, backlog.seconds / jobs / workers)
