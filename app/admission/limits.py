"""How much one API key may ask for, counted in Redis: requests per minute, and explanations that have not ended."""

import math
import time
from typing import Any, NamedTuple

from redis import Redis

_RESERVED_SECONDS = 60  # a place is kept this long for an explanation that does not exist yet
_EXISTS = 0  # in the place of the time at which it was reserved

# A bucket that holds as many tokens as the limit and fills up in a minute. Returns whether there was one, and the rest.
_TAKE = """
local time = redis.call('TIME')
local now, limit = time[1] + time[2] / 1e6, tonumber(ARGV[1])
local found = redis.call('HMGET', KEYS[1], 'left', 'at')
local left = limit
if found[1] then left = math.min(limit, found[1] + (now - found[2]) * limit / 60) end
local allowed = left >= 1
if allowed then left = left - 1 end
redis.call('HSET', KEYS[1], 'left', string.format('%.17g', left), 'at', string.format('%.17g', now))
redis.call('EXPIRE', KEYS[1], 61)
return {allowed and 1 or 0, string.format('%.17g', left)}
"""

# ARGV: explanation, limit, now, seconds for which a place is kept. What has ended is found out here, when it matters,
# and not where it ends: no process has to live long enough to report it.
_RESERVE = """
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local status = redis.call('HGET', 'rise:explanation:' .. id, 'status')
  local pending = status == '"queued"' or status == '"running"'
  local coming = not status and redis.call('ZSCORE', KEYS[1], id) + ARGV[4] > tonumber(ARGV[3])
  if id ~= ARGV[1] and not pending and not coming then redis.call('ZREM', KEYS[1], id) end
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 1
"""


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
        self._take = redis.register_script(_TAKE)

    def take(self, key: str, per_minute: int) -> RateLimitResult:
        """Count a request: `per_minute` may come at once, and then as many every minute."""
        found: Any = self._take(keys=[f"rise:rate:{key}"], args=[per_minute])
        left = float(found[1])
        return RateLimitResult(bool(found[0]), per_minute, int(left), (math.floor(left) + 1 - left) * 60 / per_minute)


class ConcurrencyQuota:
    """Knows which explanations of a key are queued or running."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._reserve = redis.register_script(_RESERVE)

    def reserve(self, key: str, explanation_id: str, limit: int) -> bool:
        """Keep a place for an explanation; return False where all are taken."""
        arguments: list[Any] = [explanation_id, limit, time.time(), _RESERVED_SECONDS]
        return bool(self._reserve(keys=[_name(key)], args=arguments))

    def keep(self, key: str, explanation_id: str) -> None:
        """Say that the explanation exists now: should it be deleted, its place is free at once."""
        self._redis.zadd(_name(key), {explanation_id: _EXISTS})

    def release(self, key: str, explanation_id: str) -> None:
        """Give a place back: the explanation was not made."""
        self._redis.zrem(_name(key), explanation_id)


def _name(key: str) -> str:
    return f"rise:pending:{key}"
