"""Explanations that have waited for long: orphans are requeued, others renewed, and those of models that are gone fail.

A failover may lose the last writes of a server, jobs among them; a queue may be longer than an explanation is kept; and
an operator may remove a model, or the workers of a queue, for good.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from pydantic import ValidationError
from redis import Redis

from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import scheduling_tags_of
from app.contract.queue.jobs import JobQueue
from app.contract.queue.rq_compat import job_exists
from app.contract.queue.throughput import ServiceTimes, ThroughputStats
from app.contract.redis.keys import DUE, record_key
from app.contract.redis.leases import Leases
from app.contract.schemas import ExplanationRecord, Failure, Status
from app.explanations.catalogue import Catalogue, CatalogueReader
from app.maintenance.last_served import ServedModels
from app.maintenance.periodic import PeriodicTask, exclusive

logger = logging.getLogger(__name__)

SILENT_HEARTBEATS = 12.0
"""After so many without a change an explanation without a job counts as an orphan."""

_AT_ONCE = 1000
_UNFINISHED = {json.dumps(status).encode() for status in (Status.QUEUED, Status.RUNNING)}


class Waiting(NamedTuple):
    """An explanation that has not ended.

    Attributes:
        id: its id.
        has_job: whether it waits on a queue, or runs.
        silent_seconds: since it changed last.
    """

    id: str
    has_job: bool
    silent_seconds: float


class OrphanScanner:
    """Finds explanations that have waited for long.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: float) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds

    def waiting(self, *, silent_seconds: float) -> Iterator[Waiting]:
        """Yield the explanations that have neither ended nor changed for a while."""
        now, first = datetime.now(UTC), 0
        while ids := self._known(first):
            first += len(ids)
            with self._redis.pipeline(transaction=False) as pipeline:
                for explanation_id in ids:
                    pipeline.hmget(record_key(explanation_id), "status", "expires_at")
                    job_exists(pipeline, explanation_id)
                found = pipeline.execute()
            for explanation_id, (status, expires_at), has_job in zip(ids, found[::2], found[1::2], strict=True):
                if status not in _UNFINISHED:
                    continue
                silent = (now - self._changed_at(expires_at)).total_seconds()
                if silent > silent_seconds:
                    yield Waiting(explanation_id, bool(has_job), silent)

    def _known(self, first: int) -> list[str]:
        found: Any = self._redis.zrange(DUE, first, first + _AT_ONCE - 1)
        return [name.decode() for name in found]

    def _changed_at(self, expires_at: bytes) -> datetime:
        return datetime.fromisoformat(json.loads(expires_at)) - timedelta(seconds=self._keep_seconds)


class _Now(NamedTuple):
    """What is the same for all explanations of a run."""

    catalogue: Catalogue
    service_times: ServiceTimes


@dataclass(frozen=True)
class OrphanRequeuer:
    """Enqueues orphans again, renews what waits for long, and fails what waits for a model that is gone.

    Attributes:
        scanner: finds them.
        store: where explanations are.
        jobs: the queues.
        service_times: what explanations cost.
        catalogue: which queue serves a model.
        served: when models were last served.
        keep_seconds: how long an explanation lives after its last change.
        silent_seconds: how long it must not have changed; what is being submitted has no job yet either.
    """

    scanner: OrphanScanner
    store: ExplanationStore
    jobs: JobQueue
    service_times: ThroughputStats
    catalogue: CatalogueReader
    served: ServedModels
    keep_seconds: float
    silent_seconds: float

    def task(self, leases: Leases, *, interval_seconds: float) -> PeriodicTask:
        """Return the periodic task, of which one process at a time has a run."""
        interval = min(interval_seconds, self.keep_seconds / 4)
        return PeriodicTask("requeue_orphans", exclusive(leases, "strays", self.run, seconds=0.9 * interval), interval)

    def run(self) -> None:
        """Look once at everything that waits."""
        now = _Now(self.catalogue.now(), self.service_times.seconds_per_mask())
        self.served.note(card.id for card in now.catalogue.models if card.state == "ready")
        half_life = self.keep_seconds / 2
        aged = []
        for waiting in self.scanner.waiting(silent_seconds=min(self.silent_seconds, half_life)):
            ended = waiting.silent_seconds > self.silent_seconds and self._see_to(waiting, now)
            if not ended and waiting.silent_seconds > half_life:
                aged.append(waiting.id)
        self.store.renew(aged)

    def _see_to(self, waiting: Waiting, now: _Now) -> bool:
        """Fail or enqueue an explanation where that has to be done; return whether it has ended."""
        try:
            record = self.store.read(waiting.id)
        except ValidationError as cause:  # because one that a newer version wrote must not keep others from being seen
            logger.warning("explanation %s cannot be read: %s", waiting.id, cause)
            return False
        if record is None or record.status.ended:
            return True
        try:
            queue = now.catalogue.queue_of(record.request.model.id)
        except RiseError as error:
            return self._give_up(record, error)
        if not waiting.has_job:
            tags = scheduling_tags_of(record, now.service_times)
            self.jobs.enqueue_explanation(queue, record.id, again=False, tags=tags)
            logger.warning("explanation %s had no job; it has a new one", record.id)
        return False

    def _give_up(self, record: ExplanationRecord, error: RiseError) -> bool:
        """Fail an explanation if its model has not been served for too long; return whether it has ended."""
        if not self.served.is_gone(record.request.model.id, since=record.created_at):
            return False
        if self.store.fail(record.id, Failure(code=error.code, detail=error.detail)):
            self.jobs.remove(record.id)
            logger.warning("explanation %s failed: %s", record.id, error.detail)
        return True
