"""The waiting and running work of a queue in seconds, read as a whole by one script.

The script reads every waiting job: a millisecond or so per thousand. A counter would be cheaper, and could drift.
"""

import json
import time
from typing import Any

from redis import Redis

from app.contract.lua_scripts import lua
from app.contract.queue.rq_compat import JOB_PREFIX, queue_key, started_key
from app.contract.queue.throughput import ServiceTimes, ThroughputStats, runs_to_completion
from app.contract.redis.keys import record_key


class Backlog:
    """The work of one queue; not thread-safe.

    Args:
        waiting: estimated seconds of every waiting explanation by its id, in order.
        running: estimated seconds left of the running ones.
        service_times: what the estimates were made with.
    """

    def __init__(self, waiting: dict[str, float], running: float, service_times: ServiceTimes) -> None:
        self.service_times = service_times
        self._waiting = waiting
        self._running = running
        self._seconds = running + sum(waiting.values())

    def __len__(self) -> int:
        """Return the number of waiting explanations."""
        return len(self._waiting)

    @property
    def seconds(self) -> float:
        """All remaining work."""
        return self._seconds

    def add(self, explanation_id: str, seconds: float, position: int) -> None:
        """Add a waiting explanation behind `position` others, which are mostly all."""
        if explanation_id in self._waiting:
            return
        self._seconds += seconds
        behind = list(self._waiting.items())[position:] if position < len(self._waiting) else []
        self._waiting[explanation_id] = seconds
        for name, expected in behind:
            del self._waiting[name]
            self._waiting[name] = expected

    def seconds_until_end(self, explanation_id: str) -> float | None:
        """Return the work up to the end of a waiting explanation; None if it does not wait."""
        if explanation_id not in self._waiting:
            return None
        total = self._seconds
        for waiting_id, seconds in reversed(self._waiting.items()):
            if waiting_id == explanation_id:
                break
            total -= seconds
        return total


class BacklogReader:
    """Reads the backlog of a queue."""

    def __init__(self, redis: Redis, service_times: ThroughputStats) -> None:
        self._service_times = service_times
        self._read = redis.register_script(lua("read_backlog"))

    def read(self, queue_name: str) -> Backlog:
        """Return the current backlog."""
        keys = [queue_key(queue_name), started_key(queue_name)]
        found: Any = self._read(keys=keys, args=[time.time(), JOB_PREFIX, record_key("")])
        service_times = self._service_times.seconds_per_mask()
        waiting = {
            name.decode(): service_times.of(work.decode()) * int(masks)
            for name, work, masks in _triples(found[0])
            if work
        }
        running = [
            _remaining_seconds(work.decode(), service_times.of(work.decode()) * int(masks), progress)
            for work, masks, progress in _triples(found[1])
        ]
        return Backlog(waiting, sum(running), service_times)


def _triples(flat: list[bytes]) -> list[tuple[bytes, ...]]:
    return [tuple(flat[start : start + 3]) for start in range(0, len(flat), 3)]


def _remaining_seconds(work: str, expected: float, progress: bytes) -> float:
    """Return the estimated seconds left of a running explanation.

    Either the expected time of the remaining masks, or the estimate in its progress report. That assumes that all masks
    are evaluated: for one that may stop early it is an upper bound.
    """
    report = json.loads(progress) or {}
    total, eta = report.get("total"), report.get("eta_seconds")
    left: float = expected * max(0.0, 1 - report.get("masks", 0) / total) if total else expected
    if eta is None:
        return left
    return float(eta) if runs_to_completion(work) else min(left, eta)
