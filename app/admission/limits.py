"""How much one API key may ask for, counted in Redis: requests per minute, and explanations that have not ended."""

import math
import time
from typing import Any, NamedTuple

from redis import Redis

from app.contract.redis.keys import pending_key, rate_key, record_key
from app.contract.scripts import lua

_RESERVED_SECONDS = 60  # a place is kept this long for an explanation that does not exist yet
_KEPT_SECONDS = 7 * 86_400  # places, after the last request of a key: it may have been revoked
_EXISTS = 0  # in the place of the time at which it was reserved


class RateLimitResult(NamedTuple):
    """What is left of a key's requests.

    Attributes:
        allowed: whether this request was within the limit.
        limit: requests per minute.
        remaining: requests that may follow at once.
        seconds: until one more may follow.
    """

    allowed: bool
    limit: int
    remaining: int
    seconds: float


class TokenBucket:
    """Counts requests per key."""

    def __init__(self, redis: Redis) -> None:
        self._take = redis.register_script(lua("take_token"))

    def take(self, key: str, per_minute: int) -> RateLimitResult:
        """Count a request: `per_minute` may come at once, and then as many every minute."""
        found: Any = self._take(keys=[rate_key(key)], args=[per_minute])
        left = float(found[1])
        return RateLimitResult(bool(found[0]), per_minute, int(left), (math.floor(left) + 1 - left) * 60 / per_minute)


class ConcurrencyQuota:
    """Knows which explanations of a key are queued or running."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._reserve = redis.register_script(lua("reserve_place"))

    def reserve(self, key: str, explanation_id: str, limit: int) -> bool:
        """Keep a place for an explanation; return False where all are taken."""
        arguments: list[Any] = [explanation_id, limit, time.time(), _RESERVED_SECONDS, record_key(""), _KEPT_SECONDS]
        return bool(self._reserve(keys=[pending_key(key)], args=arguments))

    def keep(self, key: str, explanation_id: str) -> None:
        """Say that the explanation exists now: should it be deleted, its place is free at once."""
        with self._redis.pipeline() as pipeline:
            pipeline.zadd(pending_key(key), {explanation_id: _EXISTS})
            pipeline.expire(pending_key(key), _KEPT_SECONDS)
            pipeline.execute()

    def release(self, key: str, explanation_id: str) -> None:
        """Give a place back: the explanation was not made."""
        self._redis.zrem(pending_key(key), explanation_id)
