"""Idempotency keys in Redis: which request a client's key stands for, and what came of it.

A key is claimed before anything is done and settled when an explanation exists. A claim alone is short-lived, so that
a process that dies between the two locks nobody out; the same request may always claim again.
"""

import hashlib
from typing import Any

from redis import Redis

KEPT_SECONDS = 86_400
_CLAIM_SECONDS = 120

# ARGV: payload, seconds. Returns false for another payload, else the explanation ('' while there is none).
_CLAIM = """
local payload = redis.call('HGET', KEYS[1], 'payload')
if payload and payload ~= ARGV[1] then return false end
if not payload then
  redis.call('HSET', KEYS[1], 'payload', ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
end
return redis.call('HGET', KEYS[1], 'explanation') or ''
"""

# ARGV: payload, explanation, seconds.
_SETTLE = """
local payload = redis.call('HGET', KEYS[1], 'payload')
if payload and payload ~= ARGV[1] then return end
redis.call('HSET', KEYS[1], 'payload', ARGV[1], 'explanation', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""

_RELEASE = """
if redis.call('HEXISTS', KEYS[1], 'explanation') == 0 then redis.call('DEL', KEYS[1]) end
"""


class IdempotencyKeys:
    """Remembers clients' keys, per tenant, for a day."""

    def __init__(self, redis: Redis) -> None:
        self._claim = redis.register_script(_CLAIM)
        self._settle = redis.register_script(_SETTLE)
        self._release = redis.register_script(_RELEASE)

    def claim(self, tenant: str, key: str, payload: str) -> str | None:
        """Let a key stand for a payload.

        Returns:
            The id of the explanation that came of it, `""` while there is none, None if it stands for another payload.
        """
        found: Any = self._claim(keys=[_name(tenant, key)], args=[payload, _CLAIM_SECONDS])
        return None if found is None else found.decode()

    def settle(self, tenant: str, key: str, payload: str, explanation_id: str) -> None:
        """Remember what came of it."""
        self._settle(keys=[_name(tenant, key)], args=[payload, explanation_id, KEPT_SECONDS])

    def release(self, tenant: str, key: str) -> None:
        """Forget a claim of which nothing came."""
        self._release(keys=[_name(tenant, key)])


def _name(tenant: str, key: str) -> str:
    return f"rise:idempotency:{tenant}:{hashlib.sha256(key.encode()).hexdigest()}"
