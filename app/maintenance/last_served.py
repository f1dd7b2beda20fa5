"""When each model was last served by a live worker: decides for how long accepted work waits for it.

Kept in Redis, because a front end that has just started has seen no worker yet.
"""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from redis import Redis

from app.contract.redis.keys import SERVED_MODELS


class ServedModels:
    """Remembers when models were last served.

    Args:
        redis: client with byte replies.
        ttl_seconds: how long work waits for a model that no worker serves.
    """

    def __init__(self, redis: Redis, *, ttl_seconds: float) -> None:
        self._redis = redis
        self._ttl_seconds = ttl_seconds

    def note(self, model_ids: Iterable[str]) -> None:
        """Record that models are served now."""
        now = time.time()
        if served := dict.fromkeys(model_ids, now):
            self._redis.zadd(SERVED_MODELS, served)

    def note_unseen(self, model_ids: Iterable[str], *, now: float) -> None:
        """Record that models were last served now, those of which it is not known."""
        if seen := dict.fromkeys(model_ids, now):
            self._redis.zadd(SERVED_MODELS, seen, nx=True)

    def last_served_before(self, moment: float) -> set[str]:
        """Return the models that were last served before a moment, in seconds since 1970."""
        found: Any = self._redis.zrange(SERVED_MODELS, "-inf", f"({moment}", byscore=True)
        return {name.decode() for name in found}

    def remove(self, model_ids: Iterable[str]) -> None:
        """Forget when models were served."""
        self._redis.zrem(SERVED_MODELS, *model_ids)

    def is_gone(self, model_id: str, *, since: datetime) -> bool:
        """Return whether a model that is not served now has not been for so long that work for it is given up.

        Args:
            model_id: the model.
            since: when the work was accepted; before that the model was served.
        """
        found: Any = self._redis.zscore(SERVED_MODELS, model_id)
        last_served = max(float(found or 0), since.timestamp())
        return time.time() - last_served > self._ttl_seconds
