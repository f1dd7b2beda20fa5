"""API keys in Redis, found by the hash of their secret.

Only the SHA-256 of a secret is stored. A slow hash would protect passwords that people choose; a secret here has 256
random bits, and a slow hash on every request would be an attack surface.
"""

import hashlib
import json
import secrets
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field
from redis import Redis

from app.contract.redis.keys import API_KEYS
from app.contract.schemas import Identifier, StoredModel

Scope = Literal["explain", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("explain", "read", "admin")

_PREFIX = "rise_"
_ID_LENGTH = 12


class Limits(StoredModel):
    """How much one key may ask for; None is no limit."""

    requests_per_minute: int | None = Field(None, ge=1, description="As many at once, then as many per minute.")
    max_pending: int | None = Field(None, ge=1, description="Explanations that are queued or running.")


class ApiKey(StoredModel):
    """What a key allows; never its secret."""

    name: str = Field(min_length=1, max_length=100, description="What people call it.")
    tenant: Identifier = Field(description="Whose explanations it makes and sees.")
    scopes: list[Scope]
    limits: Limits = Limits()
    created_at: datetime
    expires_at: datetime | None = None

    def expired(self, now: datetime) -> bool:
        """Return whether it has expired."""
        return self.expires_at is not None and now >= self.expires_at


class ApiKeyStore:
    """Creates, finds and revokes keys, without a cache: a revoked key is refused at once by every front end."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, key: ApiKey) -> str:
        """Store a key and return its secret, which cannot be read again."""
        secret = _PREFIX + secrets.token_urlsafe(32)
        self._redis.hset(API_KEYS, _hash(secret), key.model_dump_json())
        return secret

    def find(self, secret: str) -> tuple[str, ApiKey] | None:
        """Return the id and the key of a secret; None where it is unknown, revoked or expired."""
        hashed = _hash(secret)
        found: Any = self._redis.hget(API_KEYS, hashed)
        key = None if found is None else _key_of(found)
        return None if key is None or key.expired(datetime.now(UTC)) else (hashed[:_ID_LENGTH], key)

    def all(self) -> dict[str, ApiKey]:
        """Return every key by its id, the oldest first."""
        found: Any = self._redis.hgetall(API_KEYS)
        keys = {name.decode()[:_ID_LENGTH]: _key_of(key) for name, key in found.items()}
        return dict(sorted(keys.items(), key=lambda item: item[1].created_at))

    def revoke(self, key_id: str) -> bool:
        """Remove a key; return whether there was one of that id."""
        hashes: Any = self._redis.hkeys(API_KEYS)
        matching = [name for name in hashes if name.decode()[:_ID_LENGTH] == key_id]
        return bool(matching and self._redis.hdel(API_KEYS, *matching))


def _key_of(text: bytes) -> ApiKey:
    """Return a stored key, with those of its scopes that are known here."""
    fields = json.loads(text)
    return ApiKey.model_validate({**fields, "scopes": [scope for scope in fields["scopes"] if scope in SCOPES]})


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
