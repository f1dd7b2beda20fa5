"""The transactional outbox: deliveries that are due, each leased to one dispatcher at a time.

A delivery stays here until a dispatcher records its outcome. If a dispatcher dies before that, its lease ends and
another one repeats the attempt: delivery is at least once, every time with the same `webhook-id`.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from redis import Redis

from app.contract.explanations.webhook_subscriptions import WebhookDelivery
from app.contract.redis.keys import OUTBOX, webhooks_key
from app.contract.redis.leased_queue import Lease, LeasedQueue
from app.contract.schemas import read_all

_MAX_ANSWER_LENGTH = 200


class DeliveryAttempt(NamedTuple):
    """A delivery that is leased for an attempt, which is counted in it already."""

    lease: Lease
    delivery: WebhookDelivery


class Outbox:
    """Leases deliveries that are due, and records their outcomes."""

    def __init__(self, redis: Redis) -> None:
        self._queue = LeasedQueue(redis, OUTBOX, content=_content_place)

    def __len__(self) -> int:
        """Return how many deliveries are due or will be tried again."""
        return len(self._queue)

    def lease(self, count: int, *, seconds: float) -> list[DeliveryAttempt]:
        """Return deliveries that are due, the oldest first, leased for `seconds`."""
        leases = self._queue.lease(count, seconds=seconds)
        attempts = [
            DeliveryAttempt(lease, delivery.model_copy(update={"attempts": delivery.attempts + 1}))
            for lease in leases
            for delivery in read_all(WebhookDelivery, [lease.content])
        ]
        return [attempt for attempt in attempts if self._queue.update(attempt.lease, _text(attempt.delivery))]

    def delivered(self, attempt: DeliveryAttempt, answer: str) -> bool:
        """Record that the receiver has accepted a delivery; return False where its lease was over."""
        return self._queue.ack(attempt.lease, _text(_with_outcome(attempt, "delivered", answer)))

    def dead_letter(self, attempt: DeliveryAttempt, answer: str) -> bool:
        """Record that a delivery is not tried again."""
        return self._queue.ack(attempt.lease, _text(_with_outcome(attempt, "given-up", answer)))

    def retry(self, attempt: DeliveryAttempt, answer: str, *, seconds: float) -> bool:
        """Record that an attempt failed, and try again after a pause."""
        return self._queue.nack(attempt.lease, _text(_with_outcome(attempt, "due", answer)), seconds=seconds)

    def postpone(self, attempt: DeliveryAttempt, *, seconds: float) -> bool:
        """Release a delivery without an attempt: it is due again after a pause."""
        return self._queue.nack(attempt.lease, attempt.lease.content.decode(), seconds=seconds)


def _content_place(item: str) -> tuple[str, str]:
    explanation_id, _, delivery_id = item.partition("/")
    return webhooks_key(explanation_id), delivery_id


def _with_outcome(attempt: DeliveryAttempt, state: str, answer: str) -> WebhookDelivery:
    changes = {"state": state, "answer": answer[:_MAX_ANSWER_LENGTH], "tried_at": datetime.now(UTC)}
    return attempt.delivery.model_copy(update=changes)


def _text(delivery: WebhookDelivery) -> str:
    return delivery.model_dump_json(exclude_none=True)
