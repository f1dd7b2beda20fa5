"""Deletion and expiry of explanations, and what the garbage collector has to remove after them.

A record expires in Redis. A tombstone remains, so that a reader learns that it has expired, and an entry in the sorted
set of blobs that are due for removal; the garbage collector removes both.
"""

import time
from collections.abc import Callable
from typing import Any

from redis import Redis

from app.contract.lua_scripts import lua
from app.contract.redis.keys import DUE, events_key, index_key, record_key, tombstone_key, webhooks_key

# Blobs of a deleted explanation are due later than its deletion, because its worker may be writing one more.
_LATE_WRITE_SECONDS = 60.0


class ExpiryIndex:
    """Deletes explanations and lists what is due for garbage collection."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._delete = redis.register_script(lua("delete_explanation"))
        self._purge = redis.register_script(lua("forget_explanation"))

    def delete(self, explanation_id: str) -> None:
        """Remove an explanation without a tombstone; a worker that runs it stops at its next report."""
        keys = [record_key(explanation_id), events_key(explanation_id), tombstone_key(explanation_id), DUE]
        keys.append(webhooks_key(explanation_id))
        due = time.time() + _LATE_WRITE_SECONDS
        self._delete(keys=keys, args=[index_key(""), explanation_id, due])

    def tenant_of_expired(self, explanation_id: str) -> str | None:
        """Return the tenant of an expired explanation; None where existing_keys is no tombstone."""
        found: Any = self._redis.get(tombstone_key(explanation_id))
        return None if found is None else found.decode()

    def existing(self, explanation_ids: list[str]) -> set[str]:
        """Return those of some explanations that exist."""
        return self.existing_keys(explanation_ids, record_key)

    def existing_keys(self, ids: list[str], key_of: Callable[[str], str]) -> set[str]:
        """Return those of some ids whose key exists."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in ids:
                pipeline.exists(key_of(name))
            return {name for name, exists in zip(ids, pipeline.execute(), strict=True) if exists}

    def due(self, *, now: float, limit: int) -> list[str]:
        """Return explanations whose blobs may be removed if the record is gone, the longest due first."""
        found: Any = self._redis.zrange(DUE, "-inf", now, byscore=True, offset=0, num=limit)
        return [name.decode() for name in found]

    def reschedule(self, explanation_id: str, until: float) -> None:
        """Check an explanation again later."""
        self._redis.zadd(DUE, {explanation_id: until}, xx=True)

    def purge(self, explanation_id: str) -> bool:
        """Remove an explanation without record and blobs from every index; return False where it exists again."""
        keys = [record_key(explanation_id), tombstone_key(explanation_id), DUE]
        return bool(self._purge(keys=keys, args=[index_key(""), explanation_id]))
