"""The body of a callback: the explanation that has ended, its status, and links to it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.contract.explanations.webhook_subscriptions import WebhookDelivery
from app.contract.schemas import Failure, StoredModel


class ExplanationEndedData(StoredModel):
    """The explanation that has ended."""

    id: str
    status: Literal["succeeded", "failed", "cancelled"]
    error: Failure | None = Field(description="Why it failed.")
    links: dict[str, str] = Field(
        description="Addresses of the explanation and its image; absolute where the operator has set RISE_PUBLIC_URL."
    )


class WebhookPayload(StoredModel):
    """The body of a callback; the same in every attempt."""

    type: Literal["explanation.succeeded", "explanation.failed", "explanation.cancelled"]
    timestamp: datetime = Field(description="When the explanation ended.")
    data: ExplanationEndedData


def payload_of_delivery(delivery: WebhookDelivery, public_url: str) -> bytes:
    """Return the body of a delivery that is due, as JSON.

    Args:
        public_url: where clients find the service; empty for links without a host.
    """
    url = f"{public_url.rstrip('/')}/v1/explanations/{delivery.explanation}"
    content = {
        "type": f"explanation.{delivery.event}",
        "timestamp": delivery.ended_at,
        "data": {
            "id": delivery.explanation,
            "status": delivery.event,
            "error": delivery.error,
            "links": {"self": url, "image": f"{url}/image"},
        },
    }
    return WebhookPayload.model_validate(content).model_dump_json().encode()
