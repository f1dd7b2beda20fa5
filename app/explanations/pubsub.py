"""Notifications of messages on Redis channels: one connection for any number of waiting readers.

One task listens for all readers, because a connection for each would exhaust them. A notification that is lost with a
broken connection delays a reader but loses nothing: readers also poll.
"""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_HEALTH_CHECK_SECONDS = 5.0  # between two health checks of the connection
_PAUSE_SECONDS = 1.0


class ChannelNotifier:
    """Listens on the channels that have subscribers.

    Attributes:
        closed: whether there are no more notifications.
    """

    def __init__(self, redis: Redis) -> None:
        self._pubsub = redis.pubsub()
        self._subscribers: dict[str, set[asyncio.Event]] = {}
        self._subscribed: set[str] = set()
        self._subscribing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = False
        self.closed = False

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[asyncio.Event]:
        """Yield an event that is set at every message, and once when listening has begun."""
        event = asyncio.Event()
        self._subscribers.setdefault(channel, set()).add(event)
        try:
            await self._update_subscriptions()
            yield event
        finally:
            self._subscribers[channel].discard(event)
            if not self._subscribers[channel]:
                del self._subscribers[channel]
                if not self.closed:
                    # In a task of its own, because the subscriber may be cancelled and must not wait again.
                    self._start(self._update_subscriptions())

    def notify_all(self) -> None:
        """Set the events of all subscribers."""
        for event in itertools.chain.from_iterable(self._subscribers.values()):
            event.set()

    async def close(self) -> None:
        """Stop listening; subscribers are notified once more, so that they see that it is closed."""
        self.closed = True
        self.notify_all()
        while self._tasks:  # more than once, because redis-py loses a cancellation that meets its own time limit
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_PAUSE_SECONDS)
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _update_subscriptions(self) -> None:
        """Subscribe to the channels that have subscribers, and to no others; idempotent."""
        async with self._subscribing:
            try:
                await self._change_subscriptions()
            except (RedisError, OSError) as cause:  # they are made later, and readers poll
                logger.warning("cannot listen now: %s", cause)
            if not self._listening:
                self._listening = True
                self._start(self._listen())

    async def _change_subscriptions(self) -> None:
        channels = set(self._subscribers)
        if new := channels - self._subscribed:
            await self._pubsub.subscribe(*new)
            self._subscribed |= new
        if old := self._subscribed - channels:
            await self._pubsub.unsubscribe(*old)
            self._subscribed -= old

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        while not self.closed:
            try:
                await self._deliver_next()
            except (RedisError, OSError) as cause:
                logger.warning("cannot hear what changes: %s", cause)
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:  # because no other task listens, and readers would only poll from then on
                logger.exception("cannot hear what changes")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _deliver_next(self) -> None:
        """Set the events of the channel of the next message, if one arrives soon."""
        if self._subscribed != set(self._subscribers):
            await self._update_subscriptions()
        if self._pubsub.connection is None:  # because no subscription has been possible yet
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        message = await self._pubsub.get_message(timeout=_HEALTH_CHECK_SECONDS)
        if message is not None and message["channel"] is not None:
            for event in self._subscribers.get(message["channel"].decode(), ()):
                event.set()
