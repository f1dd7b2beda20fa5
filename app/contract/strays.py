"""Explanations that wait for long: for a job that is not there, or for their turn.

A failover may lose the last things that a server was told; and a queue may be longer than an explanation is kept.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis
from rq.job import Job

from app.contract.names import DUE, record_key
from app.contract.queue import is_job
from app.contract.schemas import Status

_AT_ONCE = 1000
_UNDER_WAY = {json.dumps(status).encode() for status in (Status.QUEUED, Status.RUNNING)}


class Strays:
    """Finds them.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: float) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds

    def find(self, *, silent_seconds: float) -> Iterator[str]:
        """Yield the explanations that have not ended and have no job, and of which nothing was heard for a while.

        Args:
            silent_seconds: how long; what is just being submitted has no job yet either.
        """
        return (explanation_id for explanation_id, has_job in self._silent(silent_seconds) if not has_job)

    def patient(self) -> Iterator[str]:
        """Yield the explanations that have a job, and of which half of the time has passed that they are kept."""
        return (explanation_id for explanation_id, has_job in self._silent(self._keep_seconds / 2) if has_job)

    def _silent(self, seconds: float) -> Iterator[tuple[str, bool]]:
        """Yield what has not ended, and of which nothing was heard for so long, and whether it has a job."""
        heard_before = datetime.now(UTC) - timedelta(seconds=seconds)
        first = 0
        while ids := self._known(first):
            first += len(ids)
            with self._redis.pipeline(transaction=False) as pipeline:
                for explanation_id in ids:
                    pipeline.hmget(record_key(explanation_id), "status", "expires_at")
                    is_job(pipeline, Job.key_for(explanation_id))
                found = pipeline.execute()
            for explanation_id, (status, expires_at), has_job in zip(ids, found[::2], found[1::2], strict=True):
                if status in _UNDER_WAY and self._heard_at(expires_at) < heard_before:
                    yield explanation_id, bool(has_job)

    def _known(self, first: int) -> list[str]:
        found: Any = self._redis.zrange(DUE, first, first + _AT_ONCE - 1)
        return [name.decode() for name in found]

    def _heard_at(self, expires_at: bytes) -> datetime:
        return datetime.fromisoformat(json.loads(expires_at)) - timedelta(seconds=self._keep_seconds)
