"""Posts deliveries from the outbox to their receivers, with retries.

It runs in a process of its own with at most 64 deliveries at once, 16 of them to one host, so that a slow receiver
delays no explanation and hardly another receiver. A receiver accepts with any 2xx. After any other answer, or none, the
delivery is retried with exponential back-off and jitter; 410 (Gone) ends it at once.
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

from app.contract.explanations.webhook_subscriptions import WebhookDelivery
from app.contract.settings import WEBHOOK_GIVE_UP_SECONDS
from app.egress.allowlist import UrlNotAllowed
from app.egress.client import total_timeout
from app.maintenance.periodic import PeriodicTask, consumer
from app.webhooks.outbox import DeliveryAttempt, Outbox
from app.webhooks.payload import payload_of_delivery
from app.webhooks.signature import sign

logger = logging.getLogger(__name__)

_MAX_IN_FLIGHT = 64
_MAX_IN_FLIGHT_PER_HOST = 16
_BUSY_HOST_SECONDS = 1.0
_POLL_SECONDS = 0.5
_GONE = 410


@dataclass(frozen=True)
class WebhookRetryPolicy:
    """Timeout and back-off of deliveries, in seconds.

    Attributes:
        answer: for the answer to one attempt.
        pause: after the first attempt that failed; doubled after each further one.
        longest_pause: the pause does not grow beyond it.
        give_up: after the end of the explanation; a delivery that would be retried later is given up.
    """

    answer: float = 10.0
    pause: float = 5.0
    longest_pause: float = 3600.0
    give_up: float = WEBHOOK_GIVE_UP_SECONDS

    def pause_after(self, attempts: int) -> float:
        """Return the pause after a number of attempts: the nominal one times a random factor of 0.5 to 1.5."""
        nominal = min(self.pause * 2.0 ** min(attempts - 1, 30), self.longest_pause)
        return nominal * random.uniform(0.5, 1.5)  # noqa: S311 - spreads load, keeps no secret


@dataclass(frozen=True)
class WebhookDispatcher:
    """Sends the deliveries that are due.

    Attributes:
        outbox: where deliveries come from.
        client: a guarded client.
        secrets: they sign every delivery.
        public_url: where clients find the service.
        retry_policy: timeout and back-off.
    """

    outbox: Outbox
    client: httpx2.AsyncClient
    secrets: tuple[bytes, ...]
    public_url: str = ""
    retry_policy: WebhookRetryPolicy = WebhookRetryPolicy()
    _in_flight: Counter[str] = field(default_factory=Counter, init=False)

    def task(self) -> PeriodicTask:
        """Return the background task that sends what is due; when it stops, deliveries in flight are completed."""
        return consumer(
            "send_callbacks",
            partial(self.outbox.lease, seconds=3 * self.retry_policy.answer),
            self._deliver_unless_busy,
            describe=lambda attempt: attempt.delivery.id,  # and not by the address, which may carry a token
            concurrency=_MAX_IN_FLIGHT,
            interval_seconds=_POLL_SECONDS,
        )

    async def _deliver_unless_busy(self, attempt: DeliveryAttempt) -> None:
        host = httpx2.URL(attempt.delivery.url).host
        if self._in_flight[host] >= _MAX_IN_FLIGHT_PER_HOST:
            await run_in_threadpool(self.outbox.postpone, attempt, seconds=_BUSY_HOST_SECONDS)
            return
        self._in_flight[host] += 1
        try:
            await self.deliver(attempt)
        finally:
            self._in_flight[host] -= 1
            if not self._in_flight[host]:
                del self._in_flight[host]

    async def deliver(self, attempt: DeliveryAttempt) -> None:
        """Make one attempt and record its outcome."""
        record = await self._outcome(attempt)
        await run_in_threadpool(record)

    async def _outcome(self, attempt: DeliveryAttempt) -> Callable[[], bool]:
        """Make an attempt, and return the call that records its outcome."""
        try:
            async with total_timeout(self.retry_policy.answer):
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
        pause = self.retry_policy.pause_after(delivery.attempts)
        assert delivery.ended_at is not None  # because only what is due is leased
        if datetime.now(UTC) + timedelta(seconds=pause) > delivery.ended_at + timedelta(
            seconds=self.retry_policy.give_up
        ):
            logger.warning("gave up %s after %d attempts: %s", delivery.id, delivery.attempts, answer)
            return lambda: self.outbox.dead_letter(attempt, answer)
        return lambda: self.outbox.retry(attempt, answer, seconds=pause)
