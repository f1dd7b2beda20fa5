"""Leases: for a while, a piece of work is one process' to do, and no other process'."""

from redis import Redis

from app.contract.redis.keys import lease_key


class Leases:
    """Hands out leases, which are never given back: they end by themselves."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def try_acquire(self, name: str, *, seconds: float) -> bool:
        """Return whether this process got a lease; it ends after `seconds`."""
        return bool(self._redis.set(lease_key(name), "taken", nx=True, px=max(1, round(seconds * 1000))))
