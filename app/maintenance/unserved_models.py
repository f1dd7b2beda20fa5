"""Removes what is kept of models that no worker has served for a month: counters, throughput, time of serving."""

import time

from app.contract.counters import PersistentCounters
from app.contract.queue.throughput import ThroughputStats
from app.contract.redis.leases import Leases
from app.maintenance.last_served import ServedModels
from app.maintenance.periodic import PeriodicTask, exclusive

_KEEP_SECONDS = 30 * 86_400.0
_EVERY_SECONDS = 3600.0


class ModelHistory:
    """What is kept of models beyond the explanations that they were asked for.

    Args:
        served: when models were last served.
        counters: of the service.
        throughput: seconds per mask.
    """

    def __init__(self, served: ServedModels, counters: PersistentCounters, throughput: ThroughputStats) -> None:
        self._served = served
        self._counters = counters
        self._throughput = throughput

    def task(self, leases: Leases, *, interval_seconds: float) -> PeriodicTask:
        """Return the periodic task, of which one process has a run every hour."""
        run = exclusive(leases, "models", lambda: self.remove_old(now=time.time()), seconds=_EVERY_SECONDS)
        return PeriodicTask("remove_old_models", run, interval_seconds)

    def remove_old(self, *, now: float) -> None:
        """Remove what is kept of models that were last served a month ago.

        Args:
            now: seconds since 1970.
        """
        # Because models that were counted by an earlier version, or served too briefly to be seen, have no time yet.
        self._served.note_unseen(self._counters.models() | self._throughput.models(), now=now)
        if old := self._served.last_served_before(now - _KEEP_SECONDS):
            self._counters.remove(old)
            self._throughput.remove(old)
            self._served.remove(old)
