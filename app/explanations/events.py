"""What happens to an explanation, for readers on the event loop.

Every change of an explanation is an entry in its stream (`app/contract/explanations/store.py`), so nothing is missed
between looking and waiting, and a reader can go on from the last entry that it saw.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.contract.redis.keys import events_key
from app.contract.schemas import JsonObject
from app.explanations.pubsub import ChannelNotifier

logger = logging.getLogger(__name__)

T = TypeVar("T")

_ENDS = {"succeeded", "failed", "cancelled"}
_AT_ONCE = 1000
_OUTAGE_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
_LOOK_SECONDS = 5.0  # longest time without looking, should a bell not have been heard


@dataclass(frozen=True)
class StreamEntry:
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


class EventStreams:
    """Reads the event streams of explanations.

    Attributes:
        released: whether nobody is kept waiting any more.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._bells = ChannelNotifier(redis)
        self.released = False

    async def position(self, explanation_id: str) -> str:
        """Return the id of the newest event, `0` where there is none: read it before the record, then wait from it."""
        newest: Any = await self._redis.xrevrange(events_key(explanation_id), count=1)
        return newest[0][0].decode() if newest else "0"

    async def since(self, explanation_id: str, after: str) -> list[StreamEntry]:
        """Return what came after an event, the oldest first; at most a thousand."""
        entries: Any = await self._redis.xrange(events_key(explanation_id), min=f"({after}", count=_AT_ONCE)
        return [
            StreamEntry(place.decode(), fields[b"event"].decode(), json.loads(fields[b"data"]))
            for place, fields in entries
        ]

    async def follow(
        self, explanation_id: str, *, after: str, deadline: float = math.inf
    ) -> AsyncGenerator[list[StreamEntry], None]:
        """Yield what came after an event, then what comes, until the explanation has ended or is gone.

        Args:
            explanation_id: what to follow.
            after: the last event that is known; `0` for none.
            deadline: when to give up, on the monotonic clock. Kept here and not by cancelling, because a cancellation
                that meets a call to the server may get lost in redis-py.
        """
        async with self._bells.bell(events_key(explanation_id)) as bell:
            while not self.released:
                bell.clear()
                found = await self._outlasting(self.since, explanation_id, after, deadline=deadline)
                if found:
                    yield found
                    after = found[-1].id
                elif not await self._outlasting(self._redis.exists, events_key(explanation_id), deadline=deadline):
                    return
                left = deadline - time.monotonic()
                if left <= 0 or any(change.ends for change in found):
                    return
                if len(found) < _AT_ONCE and not self.released:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                            await bell.wait()

    async def _outlasting(self, call: Callable[..., Awaitable[T]], *arguments: str, deadline: float) -> T:
        """Return what a call to the server returns; one that is away for a while is waited for.

        Raises:
            RedisError: when the deadline has passed, or a minute.
        """
        given_up_at = min(deadline, time.monotonic() + _OUTAGE_SECONDS)
        while True:
            try:
                return await call(*arguments)
            except RedisError as error:
                if self.released or time.monotonic() > given_up_at:
                    raise
                logger.warning("a reader waits for the server: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def wait_for_end(self, explanation_id: str, *, after: str, seconds: float) -> None:
        """Return when the explanation has ended or is gone, as of an event, or when the time is up."""
        deadline = time.monotonic() + seconds
        async with aclosing(self.follow(explanation_id, after=after, deadline=deadline)) as changes:
            async for _ in changes:
                pass

    def release(self) -> None:
        """Let everybody go who waits: this process is about to end, and another one answers from now on."""
        self.released = True
        self._bells.ring()

    async def close(self) -> None:
        """Close the connections."""
        self.release()
        await self._bells.close()
        await self._redis.aclose()
