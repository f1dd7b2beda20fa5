"""Explanations that have waited for long: those without a job get one, and those with one do not expire.

A failover may lose the last writes of a server, jobs among them; and a queue may be longer than an explanation is kept.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis
from rq.job import Job

from app.catalogue import CatalogueReader
from app.contract.errors import RiseError
from app.contract.leases import Leases
from app.contract.names import DUE, record_key
from app.contract.pace import Pace
from app.contract.queue import Jobs, is_job
from app.contract.schemas import Status
from app.contract.settings import Settings
from app.contract.store import Store
from app.contract.turns import scheduling_tags_of
from app.maintenance.periodic import PeriodicTask, exclusive

logger = logging.getLogger(__name__)

_SILENT_HEARTBEATS = 12.0
_AT_ONCE = 1000
_UNFINISHED = {json.dumps(status).encode() for status in (Status.QUEUED, Status.RUNNING)}


class OrphanScanner:
    """Finds explanations that have waited for long.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: float) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds

    def orphaned(self, *, silent_seconds: float) -> Iterator[str]:
        """Yield the explanations that have not ended, have no job, and have not changed for a while.

        Args:
            silent_seconds: how long; what is being submitted has no job yet either.
        """
        return (explanation_id for explanation_id, has_job in self._silent(silent_seconds) if not has_job)

    def long_waiting(self) -> Iterator[str]:
        """Yield the explanations that have a job and have not changed for half of the time that they are kept."""
        return (explanation_id for explanation_id, has_job in self._silent(self._keep_seconds / 2) if has_job)

    def _silent(self, seconds: float) -> Iterator[tuple[str, bool]]:
        """Yield what has neither ended nor changed for so long, and whether it has a job."""
        changed_before = datetime.now(UTC) - timedelta(seconds=seconds)
        first = 0
        while ids := self._known(first):
            first += len(ids)
            with self._redis.pipeline(transaction=False) as pipeline:
                for explanation_id in ids:
                    pipeline.hmget(record_key(explanation_id), "status", "expires_at")
                    is_job(pipeline, Job.key_for(explanation_id))
                found = pipeline.execute()
            for explanation_id, (status, expires_at), has_job in zip(ids, found[::2], found[1::2], strict=True):
                if status in _UNFINISHED and self._changed_at(expires_at) < changed_before:
                    yield explanation_id, bool(has_job)

    def _known(self, first: int) -> list[str]:
        found: Any = self._redis.zrange(DUE, first, first + _AT_ONCE - 1)
        return [name.decode() for name in found]

    def _changed_at(self, expires_at: bytes) -> datetime:
        return datetime.fromisoformat(json.loads(expires_at)) - timedelta(seconds=self._keep_seconds)


@dataclass(frozen=True)
class OrphanRequeuer:
    """Enqueues orphans again, and renews what waits for long.

    Attributes:
        scanner: finds them.
        store: where explanations are.
        jobs: the queues.
        pace: what explanations cost.
        catalogue: which queue serves a model.
    """

    scanner: OrphanScanner
    store: Store
    jobs: Jobs
    pace: Pace
    catalogue: CatalogueReader

    def task(self, leases: Leases, settings: Settings) -> PeriodicTask:
        """Return the periodic task, of which one process at a time has a run."""
        interval = min(settings.sweep_seconds, settings.keep_seconds / 4)
        silent = _SILENT_HEARTBEATS * settings.heartbeat_seconds
        run = exclusive(leases, "strays", lambda: self.run(silent_seconds=silent), seconds=0.9 * interval)
        return PeriodicTask("requeue_orphans", run, interval)

    def run(self, *, silent_seconds: float) -> None:
        """Look once at everything that waits."""
        self.requeue_orphans(silent_seconds=silent_seconds)
        self.store.renew(list(self.scanner.long_waiting()))

    def requeue_orphans(self, *, silent_seconds: float) -> None:
        """Enqueue every orphan whose model a live worker serves, in its lane and with its cost."""
        catalogue, pace = self.catalogue.now(), self.pace.seconds_per_mask()
        for explanation_id in self.scanner.orphaned(silent_seconds=silent_seconds):
            record = self.store.read(explanation_id)
            if record is None or record.status.ended:
                continue
            with suppress(RiseError):  # because it can wait until a worker serves its model again
                queue = catalogue.queue_of(record.request.model.id)
                self.jobs.enqueue_explanation(queue, explanation_id, again=False, turn=scheduling_tags_of(record, pace))
                logger.warning("explanation %s had no job; it has a new one", explanation_id)
