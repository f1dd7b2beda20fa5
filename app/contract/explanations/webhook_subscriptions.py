"""Webhook subscriptions of an explanation, and the state of their deliveries.

They are a hash for each explanation, with an entry for each callback. The script that ends an explanation (`store.py`)
puts its deliveries into the outbox in the same step, so that no crash loses one. A subscription to an explanation that
has ended is due at once.
"""

import time
import uuid
from datetime import datetime
from typing import Any, Literal

from pydantic import Field
from redis import Redis

from app.contract.errors import invalid_field
from app.contract.lua_scripts import lua
from app.contract.redis.keys import OUTBOX, record_key, webhooks_key
from app.contract.schemas import Failure, StoredModel, read_all
from app.contract.settings import WEBHOOK_GIVE_UP_SECONDS

_MOST = 1000


class WebhookDelivery(StoredModel):
    """One callback and its state."""

    id: str = Field(description="The `webhook-id` of every attempt: a receiver that has seen it may ignore it.")
    explanation: str
    url: str
    state: Literal["waiting", "due", "delivered", "given-up"] = Field(
        "waiting", description="waiting: for the end of the explanation; due: the receiver has not accepted it yet."
    )
    event: Literal["succeeded", "failed", "cancelled"] | None = None
    ended_at: datetime | None = None
    error: Failure | None = Field(None, description="Why the explanation failed.")
    attempts: int = 0
    answer: str | None = Field(None, description="How the receiver answered the last attempt.")
    tried_at: datetime | None = Field(None, description="When the last attempt was over.")


class WebhookSubscriptions:
    """Registers and lists callbacks.

    Args:
        redis: client with byte replies.
        keep_seconds: how long an explanation lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds
        self._register = redis.register_script(lua("register_callback"))

    def register(self, explanation_id: str, url: str) -> None:
        """Subscribe a URL to the end of an explanation; while the delivery waits, the same URL is subscribed once.

        Raises:
            RiseError: `invalid-parameters` if an explanation has too many callbacks.
        """
        delivery = WebhookDelivery(id=f"msg_{uuid.uuid4().hex}", explanation=explanation_id, url=url)
        keys = [record_key(explanation_id), webhooks_key(explanation_id), OUTBOX]
        text = delivery.model_dump_json(exclude_none=True)
        if self._register(keys=keys, args=[text, self._keep_seconds, _MOST, WEBHOOK_GIVE_UP_SECONDS]) == b"full":
            raise invalid_field("/callback", f"this explanation has {_MOST} callbacks already")

    def waiting(self) -> tuple[int, float]:
        """Return how many deliveries are due or will be retried, and for how many seconds the first has been due."""
        first: Any = self._redis.zrange(OUTBOX, 0, 0, withscores=True)
        overdue = max(0.0, time.time() - first[0][1]) if first else 0.0
        return int(self._redis.zcard(OUTBOX)), overdue

    def of(self, explanation_id: str) -> list[WebhookDelivery]:
        """Return the callbacks of an explanation: those never tried, then the latest tried first."""
        found: Any = self._redis.hvals(webhooks_key(explanation_id))
        return sorted(
            read_all(WebhookDelivery, found),
            key=lambda delivery: (delivery.tried_at is None, delivery.tried_at),
            reverse=True,
        )
