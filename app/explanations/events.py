"""The event streams of explanations, for readers on the event loop.

Every change of an explanation is an entry in its Redis stream (`app/contract/explanations/store.py`), so no event is
lost between reading and waiting, and a reader can continue from the last entry that it has read.
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

_FINAL_EVENTS = {"succeeded", "failed", "cancelled"}
_MAX_ENTRIES = 1000
_OUTAGE_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
_POLL_SECONDS = 5.0  # between reads, should a notification be lost


@dataclass(frozen=True)
class StreamEntry:
    """One entry of an explanation's stream.

    Attributes:
        id: its place in the stream; later ones are larger.
        event: `queued`, `running`, `progress`, `preview` (a checkpoint), `succeeded`, `failed` or `cancelled`.
        data: of the event.
    """

    id: str
    event: str
    data: JsonObject

    @property
    def ends(self) -> bool:
        """Whether it is the last event."""
        return self.event in _FINAL_EVENTS


class EventStreams:
    """Reads the event streams of explanations.

    Attributes:
        shutting_down: whether readers no longer wait.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._notifier = ChannelNotifier(redis)
        self.shutting_down = False

    async def last_event_id(self, explanation_id: str) -> str:
        """Return the id of the newest event, `0` for none. Read it before the record, then wait after it."""
        newest: Any = await self._redis.xrevrange(events_key(explanation_id), count=1)
        return newest[0][0].decode() if newest else "0"

    async def read_after(self, explanation_id: str, after: str) -> list[StreamEntry]:
        """Return the events after one, the oldest first; at most a thousand."""
        entries: Any = await self._redis.xrange(events_key(explanation_id), min=f"({after}", count=_MAX_ENTRIES)
        return [
            StreamEntry(place.decode(), fields[b"event"].decode(), json.loads(fields[b"data"]))
            for place, fields in entries
        ]

    async def follow(
        self, explanation_id: str, *, after: str, deadline: float = math.inf
    ) -> AsyncGenerator[list[StreamEntry], None]:
        """Yield the events after one, past and future, until the explanation has ended or is gone.

        Args:
            explanation_id: whose stream is read.
            after: the last event that is known; `0` for none.
            deadline: when to stop, on the monotonic clock. It is checked here and not by cancelling, because redis-py
                may lose a cancellation that arrives during a call.
        """
        async with self._notifier.subscribe(events_key(explanation_id)) as notified:
            while not self.shutting_down:
                notified.clear()
                found = await self._with_retries(self.read_after, explanation_id, after, deadline=deadline)
                if found:
                    yield found
                    after = found[-1].id
                elif not await self._with_retries(self._redis.exists, events_key(explanation_id), deadline=deadline):
                    return
                left = deadline - time.monotonic()
                if left <= 0 or any(entry.ends for entry in found):
                    return
                if len(found) < _MAX_ENTRIES and not self.shutting_down:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(left, _POLL_SECONDS)):
                            await notified.wait()

    async def _with_retries(self, call: Callable[..., Awaitable[T]], *arguments: str, deadline: float) -> T:
        """Return the result of a call to Redis, which is retried during an outage.

        Raises:
            RedisError: after the deadline, or after a minute.
        """
        given_up_at = min(deadline, time.monotonic() + _OUTAGE_SECONDS)
        while True:
            try:
                return await call(*arguments)
            except RedisError as error:
                if self.shutting_down or time.monotonic() > given_up_at:
                    raise
                logger.warning("a reader waits for Redis: %s", error)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def wait_for_end(self, explanation_id: str, *, after: str, seconds: float) -> None:
        """Return when the explanation has ended or is gone, judging by the events after one, or after `seconds`."""
        deadline = time.monotonic() + seconds
        async with aclosing(self.follow(explanation_id, after=after, deadline=deadline)) as batches:
            async for _ in batches:
                pass

    def shutdown(self) -> None:
        """End all waits, because this process is about to stop."""
        self.shutting_down = True
        self._notifier.notify_all()

    async def close(self) -> None:
        """Close the connections."""
        self.shutdown()
        await self._notifier.close()
        await self._redis.aclose()
