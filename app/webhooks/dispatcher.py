"""Tells receivers that explanations have ended: takes deliveries from the outbox, posts them, tries again.

It runs in a process of its own and holds many deliveries at once, but few to one host, so a slow receiver delays no
explanation and hardly another receiver. A receiver accepts with any 2xx. Everything else, silence included, is tried
again after a pause that doubles each time, with jitter (so that receivers that were away together do not come back to a
flood); 410 means that nobody wants to know any more, and ends it at once.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx2
from starlette.concurrency import run_in_threadpool

from app.contract.explanations.webhooks import WebhookDelivery
from app.contract.settings import WEBHOOK_GIVE_UP_SECONDS
from app.egress.allowlist import UrlNotAllowed
from app.egress.client import total_timeout
from app.maintenance.periodic import PeriodicTask, consumer
from app.webhooks.outbox import DeliveryAttempt, Outbox
from app.webhooks.payload import payload_of_delivery
from app.webhooks.signature import sign

logger = logging.getLogger(__name__)

_AT_ONCE = 64
_AT_ONCE_TO_A_HOST = 16
_BUSY_HOST_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_GONE = 410


@dataclass(frozen=True)
class WebhookRetryPolicy:
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
    give_up: float = WEBHOOK_GIVE_UP_SECONDS

    def pause_after(self, attempts: int) -> float:
        """Return the pause after so many attempts, between half and one and a half of its nominal length."""
        nominal = min(self.pause * 2.0 ** min(attempts - 1, 30), self.longest_pause)
        return nominal * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, keeps no secret


@dataclass(frozen=True)
class WebhookDispatcher:
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
    patience: WebhookRetryPolicy = WebhookRetryPolicy()
    _under_way: Counter[str] = field(default_factory=Counter, init=False)

    def task(self) -> PeriodicTask:
        """Return the background task that delivers what is due; what is under way at its end comes to its own."""
        return consumer(
            "send_callbacks",
            partial(self.outbox.lease, seconds=3 * self.patience.answer),
            self._deliver_unless_busy,
            describe=lambda attempt: attempt.delivery.id,  # and not by the address, which may carry a token
            concurrency=_AT_ONCE,
            interval_seconds=_LOOK_SECONDS,
        )

    async def _deliver_unless_busy(self, attempt: DeliveryAttempt) -> None:
        host = httpx2.URL(attempt.delivery.url).host
        if self._under_way[host] >= _AT_ONCE_TO_A_HOST:
            await run_in_threadpool(self.outbox.postpone, attempt, seconds=_BUSY_HOST_SECONDS)
            return
        self._under_way[host] += 1
        try:
            await self.deliver(attempt)
        finally:
            self._under_way[host] -= 1
            if not self._under_way[host]:
                del self._under_way[host]

    async def deliver(self, attempt: DeliveryAttempt) -> None:
        """Make one attempt and record what became of it."""
        record = await self._outcome(attempt)
        await run_in_threadpool(record)

    async def _outcome(self, attempt: DeliveryAttempt) -> Callable[[], bool]:
        """Return what records the outcome of an attempt, which is made."""
        try:
            async with total_timeout(self.patience.answer):
                status, answer = await self._post(attempt.delivery)
        except (UrlNotAllowed, httpx2.HTTPError) as error:
            return self._failed(attempt, str(error) or type(error).__name__)
        if 200 <= status < 300:
            return lambda: self.outbox.delivered(attempt, answer)
        if status == _GONE:
            return lambda: self.outbox.dead_letter(attempt, answer)
        return self._failed(attempt, answer)

    async def _post(self, delivery: WebhookDelivery) -> tuple[int, str]:
        body, timestamp = payload_of_delivery(delivery, self.public_url), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self.secrets, delivery.id, timestamp, body),
        }
        async with self.client.stream("POST", delivery.url, content=body, headers=headers) as answer:
            return answer.status_code, f"{answer.status_code} {answer.reason_phrase}".rstrip()

    def _failed(self, attempt: DeliveryAttempt, answer: str) -> Callable[[], bool]:
        delivery = attempt.delivery
        pause = self.patience.pause_after(delivery.attempts)
        assert delivery.ended_at is not None  # because only what is due is leased
        if datetime.now(UTC) + timedelta(seconds=pause) > delivery.ended_at + timedelta(seconds=self.patience.give_up):
            logger.warning("gave up %s after %d attempts: %s", delivery.id, delivery.attempts, answer)
            return lambda: self.outbox.dead_letter(attempt, answer)
        return lambda: self.outbox.retry(attempt, answer, seconds=pause)
