"""Audit an explanation: ask for it, read what it found."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Header, Response
from fastapi.openapi.models import Example
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from app.api.conditional_requests import current_json
from app.api.dependencies import Explainer, Reader, ServicesDep, existing_audit, existing_record
from app.api.list_headers import IfNoneMatch
from app.api.openapi_components import ACCEPTED, FRESHNESS, NOT_MODIFIED, PREFERRED, PROBLEMS
from app.api.request_body import BoundedJsonRoute
from app.api.routes.explanations import Wait, preferred_wait
from app.auth.principal import Principal
from app.contract.audits import require_auditable
from app.contract.errors import RiseError
from app.contract.schemas import ExplanationRecord, RequestModel, Status
from app.explanations.catalogue import ResolvedRequest
from app.explanations.views import AuditView, audit_view
from app.services import Services

router = APIRouter(prefix="/v1/explanations", tags=["audits"], responses=PROBLEMS, route_class=BoundedJsonRoute)

_RETRY_SECONDS = 1


class AuditRequest(RequestModel):
    """How to audit an explanation; all of it may be left out."""

    callback: str | None = Field(None, description="Told when the audit has ended, as an explanation's `callback` is.")


_NO_WISHES = AuditRequest()
AuditBody = Annotated[
    AuditRequest,
    Body(
        openapi_examples={
            "no wishes": Example(value={}),
            "callback": Example(value={"callback": "https://hooks.example.com/rise"}),
        }
    ),
]


@router.post(
    "/{explanation_id}/audit",
    status_code=202,
    response_model=AuditView,
    operation_id="auditExplanation",
    responses={
        200: {"model": AuditView, "description": "It has ended.", "headers": PREFERRED},
        202: {"description": "It waits for its turn, or runs.", "headers": {**ACCEPTED, **PREFERRED}},
    },
)
async def audit(
    explanation_id: str,
    services: ServicesDep,
    caller: Explainer,
    body: AuditBody = _NO_WISHES,
    prefer: Annotated[str | None, Header(description="`wait=N`: hold for N seconds until it has ended.")] = None,
) -> Response:
    """Audit an explanation: would another fill say the same, is a cell small enough, does the model react to masks?

    `passes` says beforehand how many pictures the model will be asked for at most. The explanation need not have ended;
    its blocks are used where they are there. The same explanation has the same audit, however often it is asked for.
    """
    explanation, resolved = await run_in_threadpool(_audited, services, caller, explanation_id)
    callback_url = services.commands.callback_url(body.callback)
    submitted = await services.explanations.audit(explanation, resolved, caller, callback_url)
    record, headers = submitted.record, {}
    seconds = preferred_wait(prefer, longest=services.settings.max_wait_seconds)
    if seconds is not None:
        record = await services.explanations.wait(record.id, seconds=seconds) or record
        headers["Preference-Applied"] = f"wait={seconds:g}"
    seen = audit_view(record)
    headers["Location"] = seen.links["self"]
    if record.status.ended:
        return Response(seen.model_dump_json(), HTTPStatus.OK, headers, "application/json")
    headers["Retry-After"] = str(_RETRY_SECONDS)
    return Response(seen.model_dump_json(), HTTPStatus.ACCEPTED, headers, "application/json")


def _audited(services: Services, caller: Principal, explanation_id: str) -> tuple[ExplanationRecord, ResolvedRequest]:
    """Return an explanation that can be audited, and its request with the queue for it.

    Raises:
        RiseError: `not-ready` for one that has no map and will have none; `invalid-parameters`; `no-worker`.
    """
    record = existing_record(services, caller, explanation_id)
    if record.status in {Status.FAILED, Status.CANCELLED}:
        raise RiseError("not-ready", f"there is no map to audit: this explanation has {_ENDED[record.status]}")
    require_auditable(record.request)
    return record, services.catalogue.now().route(record.request)


_ENDED = {Status.FAILED: "failed", Status.CANCELLED: "been cancelled"}


@router.get(
    "/{explanation_id}/audit",
    operation_id="getAudit",
    response_model=AuditView,
    responses={200: {"headers": FRESHNESS}, **NOT_MODIFIED},
)
async def read(
    explanation_id: str,
    services: ServicesDep,
    caller: Reader,
    if_none_match: IfNoneMatch,
    wait: Wait = None,
) -> Response:
    """Return the audit of an explanation; it is in the answer of the explanation as well."""
    record = await run_in_threadpool(existing_audit, services, caller, explanation_id)
    if wait is not None:
        seconds = min(wait, services.settings.max_wait_seconds)
        record = await services.explanations.wait(record.id, seconds=seconds) or record
    return current_json(audit_view(record).model_dump_json(), if_none_match)
