"""The outbox: deliveries that are due, each leased to one deliverer at a time.

A delivery stays here until a deliverer says what became of it. One that dies before that is forgotten when its lease
runs out, and another one tries again: a receiver may get a message twice, with the same id, but never not at all.
"""

from datetime import UTC, datetime
from typing import Any

from redis import Redis

from app.contract.callbacks import OUTBOX, Delivery, callbacks_key
from app.contract.schemas import read_all

# ARGV: how many, seconds of the lease, prefix of the keys of callbacks.
_LEASE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local leased = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local explanation, id = string.match(member, '^(.-)/(.+)$')
  local text = redis.call('HGET', ARGV[3] .. explanation, id)
  if text then
    local delivery = cjson.decode(text)
    delivery.attempts = delivery.attempts + 1
    table.insert(leased, cjson.encode(delivery))
    redis.call('HSET', ARGV[3] .. explanation, id, cjson.encode(delivery))
    redis.call('ZADD', KEYS[1], now + ARGV[2], member)
  else
    redis.call('ZREM', KEYS[1], member)
  end
end
return leased
"""

# KEYS: outbox, callbacks. ARGV: member, id, attempts, delivery, seconds until the next attempt or ''.
_SETTLE = """
local text = redis.call('HGET', KEYS[2], ARGV[2])
if not text or cjson.decode(text).attempts ~= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
if ARGV[5] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[1], time[1] + time[2] / 1000000 + ARGV[5], ARGV[1])
end
return 1
"""


class Outbox:
    """Hands out deliveries that are due, and takes back what became of them."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lease = redis.register_script(_LEASE)
        self._settle = redis.register_script(_SETTLE)

    def lease(self, count: int, *, seconds: float) -> list[Delivery]:
        """Return deliveries that are due, the oldest first; nobody else gets them until `seconds` have passed."""
        found: Any = self._lease(keys=[OUTBOX], args=[count, seconds, callbacks_key("")])
        return read_all(Delivery, found)

    def waiting(self) -> int:
        """Return how many deliveries are due or will be tried again."""
        return int(self._redis.zcard(OUTBOX))

    def delivered(self, delivery: Delivery, answer: str) -> bool:
        """Record that the receiver has accepted a delivery; return False where its lease had run out."""
        return self._write(delivery, "delivered", answer, None)

    def give_up(self, delivery: Delivery, answer: str) -> bool:
        """Record that a delivery is not tried again."""
        return self._write(delivery, "given-up", answer, None)

    def retry(self, delivery: Delivery, answer: str, *, seconds: float) -> bool:
        """Record that an attempt failed, and try again after a pause."""
        return self._write(delivery, "due", answer, seconds)

    def postpone(self, delivery: Delivery, *, seconds: float) -> bool:
        """Give a leased delivery back untried: it is due again after a pause."""
        untried = delivery.model_copy(update={"attempts": delivery.attempts - 1})
        return self._settled(delivery, untried, seconds)

    def _write(self, delivery: Delivery, state: str, answer: str, pause_seconds: float | None) -> bool:
        changes = {"state": state, "answer": answer[:200], "tried_at": datetime.now(UTC)}
        return self._settled(delivery, delivery.model_copy(update=changes), pause_seconds)

    def _settled(self, leased: Delivery, after: Delivery, pause_seconds: float | None) -> bool:
        member, keys = f"{leased.explanation}/{leased.id}", [OUTBOX, callbacks_key(leased.explanation)]
        pause = "" if pause_seconds is None else pause_seconds
        text = after.model_dump_json(exclude_none=True)
        return bool(self._settle(keys=keys, args=[member, leased.id, leased.attempts, text, pause]))
