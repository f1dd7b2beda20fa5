"""Limits of one API key, counted in Redis: a token bucket for requests, a quota of unfinished explanations."""

import math
import time
from typing import Any, NamedTuple

from redis import Redis

from app.contract.lua_scripts import lua
from app.contract.redis.keys import pending_key, rate_key, record_key

_RESERVED_SECONDS = 60  # a slot is held this long for an explanation that does not exist yet
_KEPT_SECONDS = 7 * 86_400  # slots, after the last request of a key: it may have been revoked
_EXISTS = 0  # instead of the time of the reservation


class RateLimitResult(NamedTuple):
    """The state of a key's token bucket after a request.

    Attributes:
        allowed: whether the request was within the limit.
        limit: requests per minute.
        remaining: requests that may follow at once.
        seconds: until one more may follow.
    """

    allowed: bool
    limit: int
    remaining: int
    seconds: float


class TokenBucket:
    """Limits the requests per minute of each key."""

    def __init__(self, redis: Redis) -> None:
        self._take = redis.register_script(lua("take_token"))

    def take(self, key: str, per_minute: int) -> RateLimitResult:
        """Count a request: `per_minute` may come at once, and then as many every minute."""
        found: Any = self._take(keys=[rate_key(key)], args=[per_minute])
        left = float(found[1])
        return RateLimitResult(bool(found[0]), per_minute, int(left), (math.floor(left) + 1 - left) * 60 / per_minute)


class ConcurrencyQuota:
    """Limits the queued and running explanations of each key."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._reserve = redis.register_script(lua("reserve_place"))

    def reserve(self, key: str, explanation_id: str, limit: int) -> bool:
        """Reserve a slot for an explanation; return False where all are taken."""
        arguments: list[Any] = [explanation_id, limit, time.time(), _RESERVED_SECONDS, record_key(""), _KEPT_SECONDS]
        return bool(self._reserve(keys=[pending_key(key)], args=arguments))

    def keep(self, key: str, explanation_id: str) -> None:
        """Mark the explanation of a slot as existing: if it is deleted, its slot is free at once."""
        with self._redis.pipeline() as pipeline:
            pipeline.zadd(pending_key(key), {explanation_id: _EXISTS})
            pipeline.expire(pending_key(key), _KEPT_SECONDS)
            pipeline.execute()

    def release(self, key: str, explanation_id: str) -> None:
        """Release the slot of an explanation that was not created."""
        self._redis.zrem(pending_key(key), explanation_id)
