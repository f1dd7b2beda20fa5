"""Callbacks: what became of them, and what they look like to a receiver."""

from typing import Annotated, Any

from fastapi import APIRouter, Header

from app.api.dependencies import Reader, ServicesDep, existing_record
from app.api.openapi_components import PROBLEMS
from app.contract.explanations.webhook_subscriptions import WebhookDelivery
from app.webhooks.payload import WebhookPayload

router = APIRouter(prefix="/v1/explanations", tags=["callbacks"], responses=PROBLEMS)
webhooks = APIRouter()

_ANSWERS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "It is sent again later; 410 refuses it for good."},
    "5XX": {"description": "It is sent again later."},
}


@router.get("/{explanation_id}/callbacks", operation_id="listCallbacks")
def callbacks(explanation_id: str, services: ServicesDep, caller: Reader) -> list[WebhookDelivery]:
    """Return the callbacks of an explanation: whom it tells, how often it was tried, what the receiver answered."""
    record = existing_record(services, caller, explanation_id)
    return services.webhook_subscriptions.of(record.id)


@webhooks.post("explanation-ended", operation_id="onExplanationEnded", status_code=204, responses=_ANSWERS)
def explanation_ended(
    message: WebhookPayload,
    webhook_id: Annotated[str, Header(description="The same in every attempt.")],
    webhook_timestamp: Annotated[str, Header(description="Of this attempt, in seconds since 1970.")],
    webhook_signature: Annotated[
        str,
        Header(description="`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`; several with spaces between."),
    ],
) -> None:
    """Tell the `callback` of a request that its explanation has ended, or its audit (Standard Webhooks).

    Answer with any 2xx within ten seconds to accept it, with 410 to refuse it for good. Everything else is tried again
    after 5, 10, 20, ... seconds, at most an hour, until a day has passed. A message may come twice, with the same id.
    """
