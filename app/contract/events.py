"""What happens to an explanation, for readers on the event loop.

Every change of an explanation is an entry in its stream (`store.py`), so nothing is missed between looking and
waiting, and a reader can go on from the last entry that it saw.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from app.contract.bells import Bells
from app.contract.names import events_key
from app.contract.schemas import JsonObject

_ENDS = {"succeeded", "failed", "cancelled"}
_AT_ONCE = 1000
_LOOK_SECONDS = 5.0  # longest time without looking, should a bell not have been heard


@dataclass(frozen=True)
class Change:
    """One entry of an explanation's stream.

    Attributes:
        id: its place in the stream; later ones are larger.
        event: `queued`, `running`, `progress`, `preview` (a checkpoint), `succeeded`, `failed` or `cancelled`.
        data: what it says.
    """

    id: str
    event: str
    data: JsonObject

    @property
    def ends(self) -> bool:
        """Whether nothing comes after it."""
        return self.event in _ENDS


class Events:
    """Reads the event streams of explanations."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._bells = Bells(redis)

    async def position(self, explanation_id: str) -> str:
        """Return the id of the newest event, `0` where there is none: read it before the record, then wait from it."""
        newest: Any = await self._redis.xrevrange(events_key(explanation_id), count=1)
        return newest[0][0].decode() if newest else "0"

    async def since(self, explanation_id: str, after: str) -> list[Change]:
        """Return what came after an event, the oldest first; at most a thousand."""
        entries: Any = await self._redis.xrange(events_key(explanation_id), min=f"({after}", count=_AT_ONCE)
        return [
            Change(place.decode(), fields[b"event"].decode(), json.loads(fields[b"data"])) for place, fields in entries
        ]

    async def follow(self, explanation_id: str, *, after: str) -> AsyncGenerator[list[Change], None]:
        """Yield what came after an event, then what comes, until the explanation has ended or is gone."""
        async with self._bells.bell(events_key(explanation_id)) as bell:
            while True:
                bell.clear()
                found = await self.since(explanation_id, after)
                if found:
                    yield found
                    after = found[-1].id
                    if any(change.ends for change in found):
                        return
                elif not await self._redis.exists(events_key(explanation_id)):
                    return
                if len(found) < _AT_ONCE:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(bell.wait(), _LOOK_SECONDS)

    async def wait_for_end(self, explanation_id: str, *, after: str, seconds: float) -> None:
        """Return when the explanation has ended or is gone, as of an event, or when the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), aclosing(self.follow(explanation_id, after=after)) as changes:
                async for _ in changes:
                    pass

    async def close(self) -> None:
        """Close the connections."""
        await self._bells.close()
        await self._redis.aclose()
