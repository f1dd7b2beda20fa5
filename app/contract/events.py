"""Waiting for an explanation to change, on the event loop.

Every change of an explanation is an entry in its stream (`store.py`), so nothing is missed between looking and
waiting, and a reader can go on from the last entry that it saw.
"""

import time
from typing import Any

from redis.asyncio import Redis

from app.contract.connection import BLOCK_SECONDS
from app.contract.store import events_key

_ENDS = {b"succeeded", b"failed", b"cancelled"}


class Events:
    """Reads the event streams of explanations."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def position(self, explanation_id: str) -> str:
        """Return the id of the newest event, `0` where there is none: read it before the record, then wait from it."""
        newest: Any = await self._redis.xrevrange(events_key(explanation_id), count=1)
        return newest[0][0].decode() if newest else "0"

    async def wait_for_end(self, explanation_id: str, *, after: str, seconds: float) -> None:
        """Return when an event that ends the explanation has come after `after`, or when the time is up."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            block = max(1, round(min(left, BLOCK_SECONDS) * 1000))
            found: Any = await self._redis.xread({events_key(explanation_id): after}, count=100, block=block)
            for _, entries in found:
                after = entries[-1][0].decode()
                if any(fields[b"event"] in _ENDS for _, fields in entries):
                    return

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
