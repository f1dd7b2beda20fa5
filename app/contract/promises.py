"""What was promised to somebody outside for when an explanation has ended: kept in Redis until it is kept.

A front end that answers "later" may die before later comes. So what it owes stands here, and any front end takes what
is due, under a lease: one that dies is forgotten when its lease runs out, and another one tries again. What is owed is
thus done at least once; whoever keeps promises sees to it that twice does not show.
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from redis import Redis

from app.contract.schemas import JsonObject, StoredModel, read_all

KEPT_SECONDS = 7 * 86_400  # after the last promise of a kind: nobody is left who would keep them

# KEYS: the times, the promises. ARGV: how many, seconds of the lease.
_LEASE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local leased = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local text = redis.call('HGET', KEYS[2], id)
  if text then
    table.insert(leased, text)
    redis.call('ZADD', KEYS[1], now + ARGV[2], id)
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
return leased
"""

# KEYS: the times, the promises. ARGV: id, promise, seconds until it is due, seconds to live, 'new' or 'owed'.
_WRITE = """
if ARGV[5] == 'owed' and redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[1], time[1] + time[2] / 1000000 + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""


class Promise(StoredModel):
    """Something owed.

    Attributes:
        id: one promise of an id is owed at a time; a newer one takes the place of an older.
        content: what is owed, in the words of whoever keeps it.
        made_at: when it was promised.
    """

    id: str
    content: JsonObject
    made_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Promises:
    """Makes promises, and hands them out when they are due.

    Args:
        redis: client with byte replies.
        kind: who keeps them.
    """

    def __init__(self, redis: Redis, kind: str) -> None:
        self._redis = redis
        self._keys = [f"rise:promises:{kind}:due", f"rise:promises:{kind}"]
        self._lease = redis.register_script(_LEASE)
        self._write = redis.register_script(_WRITE)

    def make(self, promise: Promise, *, seconds: float) -> None:
        """Promise something, to be looked at after so many seconds."""
        self._put(promise, seconds, "new")

    def lease(self, count: int, *, seconds: float) -> list[Promise]:
        """Return promises that are due, the oldest first; nobody else gets them until `seconds` have passed."""
        found: Any = self._lease(keys=self._keys, args=[count, seconds])
        return read_all(Promise, found)

    def put_off(self, promise: Promise, *, seconds: float) -> bool:
        """Write a leased promise back, to be due after a pause; return False where it is not owed any more."""
        return self._put(promise, seconds, "owed")

    def settle(self, promise_id: str) -> bool:
        """Forget a promise, because it was kept or cannot be; return whether it was owed."""
        with self._redis.pipeline() as pipeline:
            pipeline.zrem(self._keys[0], promise_id)
            pipeline.hdel(self._keys[1], promise_id)
            return bool(pipeline.execute()[1])

    def owed(self) -> int:
        """Return how many promises there are."""
        return int(self._redis.hlen(self._keys[1]))

    def _put(self, promise: Promise, seconds: float, when: str) -> bool:
        arguments: list[Any] = [promise.id, promise.model_dump_json(), seconds, KEPT_SECONDS, when]
        return bool(self._write(keys=self._keys, args=arguments))
