"""The body of a callback: the explanation or audit that has ended, its status, and links to it."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.contract.audits import audited_id
from app.contract.explanations.webhook_subscriptions import WebhookDelivery
from app.contract.schemas import Failure, StoredModel


class ExplanationEndedData(StoredModel):
    """The explanation that has ended, or that was audited."""

    id: str = Field(description="Of the explanation.")
    status: Literal["succeeded", "failed", "cancelled"]
    error: Failure | None = Field(description="Why it failed.")
    links: dict[str, str] = Field(
        description="Addresses of the explanation and its image; absolute where the operator has set RISE_PUBLIC_URL."
    )


class WebhookPayload(StoredModel):
    """The body of a callback; the same in every attempt."""

    type: Literal[
        "explanation.succeeded",
        "explanation.failed",
        "explanation.cancelled",
        "audit.succeeded",
        "audit.failed",
        "audit.cancelled",
    ]
    timestamp: datetime = Field(description="When it ended.")
    data: ExplanationEndedData


def payload_of_delivery(delivery: WebhookDelivery, public_url: str) -> bytes:
    """Return the body of a delivery that is due, as JSON.

    Args:
        public_url: where clients find the service; empty for links without a host.
    """
    audited = audited_id(delivery.explanation)
    explanation_id = audited or delivery.explanation
    url = f"{public_url.rstrip('/')}/v1/explanations/{explanation_id}"
    content = {
        "type": f"{'explanation' if audited is None else 'audit'}.{delivery.event}",
        "timestamp": delivery.ended_at,
        "data": {
            "id": explanation_id,
            "status": delivery.event,
            "error": delivery.error,
            "links": {"self": url, "image": f"{url}/image", **({"audit": f"{url}/audit"} if audited else {})},
        },
    }
    return WebhookPayload.model_validate(content).model_dump_json().encode()
