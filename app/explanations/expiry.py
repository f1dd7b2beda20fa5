"""The end of explanations: deleted at once, or expired after a time without change, and their blobs after them.

A record expires by itself. What remains is a tombstone, so that a reader learns that it was there, and an entry in the
order in which blobs are due; the garbage collector removes both.
"""

import time
from collections.abc import Callable
from typing import Any

from redis import Redis

from app.contract.redis.keys import DUE, events_key, index_key, record_key, tombstone_key, webhooks_key
from app.contract.scripts import lua

# Blobs of a deleted explanation are due later than its end, because its worker may be writing one more.
_LATE_WRITES_SECONDS = 60.0


class ExpiryIndex:
    """Ends explanations and says what is left to sweep."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._delete = redis.register_script(lua("delete_explanation"))
        self._forget = redis.register_script(lua("forget_explanation"))

    def delete(self, explanation_id: str) -> None:
        """Remove an explanation as if it had never been; a worker that runs it finds out at its next report."""
        keys = [record_key(explanation_id), events_key(explanation_id), tombstone_key(explanation_id), DUE]
        keys.append(webhooks_key(explanation_id))
        due = time.time() + _LATE_WRITES_SECONDS
        self._delete(keys=keys, args=[index_key(""), explanation_id, due])

    def tenant_of_expired(self, explanation_id: str) -> str | None:
        """Return whose an explanation was that is not there; None where nobody remembers one."""
        found: Any = self._redis.get(tombstone_key(explanation_id))
        return None if found is None else found.decode()

    def living(self, explanation_ids: list[str]) -> set[str]:
        """Return those of some explanations that are there."""
        return self.there(explanation_ids, record_key)

    def there(self, ids: list[str], key_of: Callable[[str], str]) -> set[str]:
        """Return those of some ids whose key is there."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in ids:
                pipeline.exists(key_of(name))
            return {name for name, there in zip(ids, pipeline.execute(), strict=True) if there}

    def due(self, *, now: float, limit: int) -> list[str]:
        """Return explanations whose blobs may be swept if they are gone, the longest due first."""
        found: Any = self._redis.zrange(DUE, "-inf", now, byscore=True, offset=0, num=limit)
        return [name.decode() for name in found]

    def put_off(self, explanation_id: str, until: float) -> None:
        """Look again later."""
        self._redis.zadd(DUE, {explanation_id: until}, xx=True)

    def forget(self, explanation_id: str) -> bool:
        """Take an explanation that is gone, and its blobs too, out of every list; False where it is there again."""
        keys = [record_key(explanation_id), tombstone_key(explanation_id), DUE]
        return bool(self._forget(keys=keys, args=[index_key(""), explanation_id]))
