"""Tells receivers that explanations have ended: takes deliveries from the outbox, posts them, tries again.

It runs in a process of its own and holds many deliveries at once, but few to one host, so a slow receiver delays no
explanation and hardly another receiver. A receiver accepts with any 2xx. Everything else, silence included, is tried
again after a pause that doubles each time, with jitter (so that receivers that were away together do not come back to a
flood); 410 means that nobody wants to know any more, and ends it at once.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx2
from redis.exceptions import RedisError

from app.contract.callbacks import GIVE_UP_SECONDS, Delivery
from app.contract.outbox import Outbox
from app.outbound.guard import within
from app.outbound.hosts import Refused
from app.outbound.messages import message_of
from app.outbound.signature import sign

logger = logging.getLogger(__name__)

_AT_ONCE = 64
_AT_ONCE_TO_A_HOST = 16
_BUSY_HOST_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_GONE = 410


@dataclass(frozen=True)
class Patience:
    """How long receivers are waited for, in seconds.

    Attributes:
        answer: for the answer to one attempt.
        pause: after the first attempt that failed; doubled after each further one.
        longest_pause: the pause does not grow beyond it.
        give_up: after the end of the explanation, nothing is tried any more.
    """

    answer: float = 10.0
    pause: float = 5.0
    longest_pause: float = 3600.0
    give_up: float = GIVE_UP_SECONDS

    def pause_after(self, attempts: int) -> float:
        """Return the pause after so many attempts, between half and one and a half of its nominal length."""
        nominal = min(self.pause * 2.0 ** min(attempts - 1, 30), self.longest_pause)
        return nominal * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, keeps no secret


@dataclass(frozen=True)
class Deliverer:
    """Delivers what is due.

    Attributes:
        outbox: where deliveries come from.
        client: a guarded client.
        secrets: they sign every delivery.
        public_url: where clients find the service.
        patience: how long receivers are waited for.
    """

    outbox: Outbox
    client: httpx2.AsyncClient
    secrets: tuple[bytes, ...]
    public_url: str = ""
    patience: Patience = Patience()

    async def run(self, stopping: asyncio.Event) -> None:
        """Deliver until `stopping` is set; what is under way then is brought to its end."""
        tasks: dict[asyncio.Task[None], str] = {}
        while not stopping.is_set():
            for delivery in await self._due(_AT_ONCE - len(tasks)):
                host = httpx2.URL(delivery.url).host
                busy = list(tasks.values()).count(host) >= _AT_ONCE_TO_A_HOST
                tasks[asyncio.create_task(self._postpone(delivery) if busy else self.deliver(delivery))] = host
            await _first(asyncio.create_task(stopping.wait()), *tasks, seconds=_LOOK_SECONDS)
            for task in [task for task in tasks if task.done()]:
                del tasks[task]
                _complain(task)
        await asyncio.gather(*tasks)

    async def _postpone(self, delivery: Delivery) -> None:
        await asyncio.to_thread(self.outbox.postpone, delivery, seconds=_BUSY_HOST_SECONDS)

    async def _due(self, count: int) -> list[Delivery]:
        try:
            return await asyncio.to_thread(self.outbox.lease, count, seconds=3 * self.patience.answer) if count else []
        except RedisError as error:
            logger.warning("the outbox does not answer: %s", error)
            return []

    async def deliver(self, delivery: Delivery) -> None:
        """Make one attempt and record what became of it."""
        try:
            settle = await self._attempt(delivery)
            await asyncio.to_thread(settle)
        except RedisError as error:  # the lease runs out, and the delivery is tried again
            logger.warning("delivery %s could not be recorded: %s", delivery.id, error)

    async def _attempt(self, delivery: Delivery) -> Callable[[], bool]:
        try:
            async with within(self.patience.answer):
                status, answer = await self._post(delivery)
        except (Refused, httpx2.HTTPError) as error:
            return self._failed(delivery, str(error) or type(error).__name__)
        if 200 <= status < 300:
            return lambda: self.outbox.delivered(delivery, answer)
        if status == _GONE:
            return lambda: self.outbox.give_up(delivery, answer)
        return self._failed(delivery, answer)

    async def _post(self, delivery: Delivery) -> tuple[int, str]:
        body, timestamp = message_of(delivery, self.public_url), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self.secrets, delivery.id, timestamp, body),
        }
        async with self.client.stream("POST", delivery.url, content=body, headers=headers) as answer:
            return answer.status_code, f"{answer.status_code} {answer.reason_phrase}".rstrip()

    def _failed(self, delivery: Delivery, answer: str) -> Callable[[], bool]:
        pause = self.patience.pause_after(delivery.attempts)
        assert delivery.ended_at is not None  # because only what is due is leased
        if datetime.now(UTC) + timedelta(seconds=pause) > delivery.ended_at + timedelta(seconds=self.patience.give_up):
            logger.warning("gave up %s after %d attempts: %s", delivery.id, delivery.attempts, answer)
            return lambda: self.outbox.give_up(delivery, answer)
        return lambda: self.outbox.retry(delivery, answer, seconds=pause)


async def _first(stop: asyncio.Task[bool], *tasks: asyncio.Task[None], seconds: float) -> None:
    """Return when one of the tasks is done, or when the time is up."""
    await asyncio.wait([stop, *tasks], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()


def _complain(task: asyncio.Task[None]) -> None:
    if (error := task.exception()) is not None:
        logger.error("a delivery broke", exc_info=error)
