"""Idempotency keys in Redis: the request and the explanation of each key.

A key is claimed before the request is processed and settled when its explanation exists. A claim expires soon, so that
it does not outlive a process that dies between the two for long; the same request may always claim again.
"""

from typing import Any

from redis import Redis

from app.contract.lua_scripts import lua
from app.contract.redis.keys import idempotency_key

KEPT_SECONDS = 86_400
_CLAIM_SECONDS = 120


class IdempotencyKeys:
    """Stores the idempotency keys of each tenant for a day."""

    def __init__(self, redis: Redis) -> None:
        self._claim = redis.register_script(lua("claim_idempotency_key"))
        self._settle = redis.register_script(lua("settle_idempotency_key"))
        self._release = redis.register_script(lua("release_idempotency_key"))

    def claim(self, tenant: str, key: str, payload: str) -> str | None:
        """Claim a key for a payload.

        Returns:
            The id of its explanation, `""` while there is none, None if the key belongs to another payload.
        """
        found: Any = self._claim(keys=[idempotency_key(tenant, key)], args=[payload, _CLAIM_SECONDS])
        return None if found is None else found.decode()

    def settle(self, tenant: str, key: str, payload: str, explanation_id: str) -> None:
        """Store the explanation of a claimed key."""
        self._settle(keys=[idempotency_key(tenant, key)], args=[payload, explanation_id, KEPT_SECONDS])

    def release(self, tenant: str, key: str) -> None:
        """Release a claim without explanation."""
        self._release(keys=[idempotency_key(tenant, key)])
