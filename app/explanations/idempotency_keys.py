"""Idempotency keys in Redis: which request a client's key stands for, and what came of it.

A key is claimed before anything is done and settled when an explanation exists. A claim alone is short-lived, so that
a process that dies between the two locks nobody out; the same request may always claim again.
"""

from typing import Any

from redis import Redis

from app.contract.redis.keys import idempotency_key
from app.contract.scripts import lua

KEPT_SECONDS = 86_400
_CLAIM_SECONDS = 120


class IdempotencyKeys:
    """Remembers clients' keys, per tenant, for a day."""

    def __init__(self, redis: Redis) -> None:
        self._claim = redis.register_script(lua("claim_idempotency_key"))
        self._settle = redis.register_script(lua("settle_idempotency_key"))
        self._release = redis.register_script(lua("release_idempotency_key"))

    def claim(self, tenant: str, key: str, payload: str) -> str | None:
        """Let a key stand for a payload.

        Returns:
            The id of the explanation that came of it, `""` while there is none, None if it stands for another payload.
        """
        found: Any = self._claim(keys=[idempotency_key(tenant, key)], args=[payload, _CLAIM_SECONDS])
        return None if found is None else found.decode()

    def settle(self, tenant: str, key: str, payload: str, explanation_id: str) -> None:
        """Remember what came of it."""
        self._settle(keys=[idempotency_key(tenant, key)], args=[payload, explanation_id, KEPT_SECONDS])

    def release(self, tenant: str, key: str) -> None:
        """Forget a claim of which nothing came."""
        self._release(keys=[idempotency_key(tenant, key)])
