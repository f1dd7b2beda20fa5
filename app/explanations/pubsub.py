"""Bells that ring when something is published on a channel: one connection for any number of waiting readers.

A reader that blocks a connection of its own would leave none for others. Here one task listens for all of them, and
readers look only when there is something to see. A bell that does not ring because a connection broke costs time and
nothing else: readers look by themselves every now and then.
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

_PATIENCE_SECONDS = 5.0  # between two looks at the connection's health
_PAUSE_SECONDS = 1.0


class ChannelNotifier:
    """Listens on the channels that somebody waits for.

    Attributes:
        closed: whether no bell will ring any more.
    """

    def __init__(self, redis: Redis) -> None:
        self._pubsub = redis.pubsub()
        self._bells: dict[str, set[asyncio.Event]] = {}
        self._subscribed: set[str] = set()
        self._subscribing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = False
        self.closed = False

    @asynccontextmanager
    async def bell(self, channel: str) -> AsyncIterator[asyncio.Event]:
        """Give an event that is set at every message, and once when listening has begun; free everything at the end."""
        bell = asyncio.Event()
        self._bells.setdefault(channel, set()).add(bell)
        try:
            await self._subscribe()
            yield bell
        finally:
            self._bells[channel].discard(bell)
            if not self._bells[channel]:
                del self._bells[channel]
                if not self.closed:
                    # In a task of its own, because whoever waits may be cancelled and must not wait again.
                    self._start(self._subscribe())

    def ring(self) -> None:
        """Wake everybody who waits."""
        for bell in itertools.chain.from_iterable(self._bells.values()):
            bell.set()

    async def close(self) -> None:
        """Stop listening; whoever still waits is woken once more, to see that it is closed."""
        self.closed = True
        self.ring()
        while self._tasks:  # more than once, because redis-py loses a cancellation that meets its own time limit
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=_PAUSE_SECONDS)
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _subscribe(self) -> None:
        """Make the subscriptions those that are waited for, however often and in whatever order it is called."""
        async with self._subscribing:
            try:
                await self._change_subscriptions()
            except (RedisError, OSError) as cause:  # they are made later, and readers look by themselves
                logger.warning("cannot listen now: %s", cause)
            if not self._listening:
                self._listening = True
                self._start(self._listen())

    async def _change_subscriptions(self) -> None:
        wanted = set(self._bells)
        if new := wanted - self._subscribed:
            await self._pubsub.subscribe(*new)
            self._subscribed |= new
        if old := self._subscribed - wanted:
            await self._pubsub.unsubscribe(*old)
            self._subscribed -= old

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        while not self.closed:
            try:
                await self._hear()
            except (RedisError, OSError) as cause:
                logger.warning("cannot hear what changes: %s", cause)
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception:  # because no other task listens, and readers would look at intervals from then on
                logger.exception("cannot hear what changes")
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _hear(self) -> None:
        """Set the events of the channel of the next message, if one comes soon."""
        if self._subscribed != set(self._bells):
            await self._subscribe()
        if self._pubsub.connection is None:  # because no subscription has been possible yet
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        message = await self._pubsub.get_message(timeout=_PATIENCE_SECONDS)
        if message is not None and message["channel"] is not None:
            for bell in self._bells.get(message["channel"].decode(), ()):
                bell.set()
