"""Create, read, wait for and cancel explanations."""

import math
import re
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.conditional_requests import current_json
from app.api.dependencies import Explainer, Reader, ServicesDep, existing_record, wait_for_record
from app.api.idempotency import Claim, IdempotencyKey, payload_of, submit_once
from app.api.list_headers import IfNoneMatch
from app.api.openapi_components import ACCEPTED, CREATE_BODY, FRESHNESS, NOT_MODIFIED, PREFERRED, PROBLEMS
from app.api.request_body import ParsedBody, read_body
from app.auth.principal import Principal
from app.contract.audits import audit_id, audited_id
from app.contract.errors import RiseError
from app.contract.explanations.store import RawRecord, parse_record
from app.contract.schemas import ExplanationRecord, Status
from app.explanations.root_path import root_path
from app.explanations.service import SubmitResult
from app.explanations.views import ExplanationView, explanation_path, view
from app.services import Services

router = APIRouter(prefix="/v1/explanations", tags=["explanations"], responses=PROBLEMS)

_VIEWS_KEPT = 200  # of a few kilobytes; the view of an explanation changes with what is stored, and with nothing else
_LONGEST_RETRY_SECONDS = 60  # because estimates err, and looking is cheap

Wait = Annotated[float | None, Query(ge=0, description="Seconds to hold the request until the explanation has ended.")]


@router.post(
    "",
    status_code=202,
    response_model=ExplanationView,
    operation_id="createExplanation",
    responses={
        200: {
            "model": ExplanationView,
            "description": "The same explanation exists already, or it has ended.",
            "headers": {"Location": ACCEPTED["Location"], **PREFERRED},
        },
        202: {"description": "It waits for its turn, or runs.", "headers": {**ACCEPTED, **PREFERRED}},
    },
    openapi_extra=CREATE_BODY,
)
async def create(
    request: Request,
    services: ServicesDep,
    caller: Explainer,
    prefer: Annotated[str | None, Header(description="`wait=N`: hold for N seconds until it has ended.")] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Explain an image: send it with a model's id; poll, wait for or fetch the result by the id that comes back."""
    body = await read_body(request)
    submit = partial(_submit, services, caller, body)
    if idempotency_key is None:
        submitted = await submit()
    else:
        claim = Claim(services.idempotency, caller.tenant, idempotency_key, payload_of(body))
        submitted = await submit_once(
            claim, find=partial(_submitted, services), submit=submit, id_of=lambda made: made.record.id
        )
    seconds = preferred_wait(prefer, longest=services.settings.max_wait_seconds)
    if seconds is None:
        return await _created(services, submitted)
    record = await wait_for_record(services, caller, submitted.record.id, seconds=seconds)
    answer = await _created(services, SubmitResult(record, created=True))  # 200 says here that it has ended
    answer.headers["Preference-Applied"] = f"wait={seconds:g}"
    return answer


async def _created(services: Services, submitted: SubmitResult) -> Response:
    record = submitted.record
    if submitted.queue_position is not None:
        seen = view(record, submitted.queue_position, submitted.eta_seconds, audit=submitted.audit)
    else:
        seen = await run_in_threadpool(_view, services, record)
    status = HTTPStatus.ACCEPTED if submitted.created and not record.status.ended else HTTPStatus.OK
    headers = {"Location": explanation_path(record.id)}
    if status is HTTPStatus.ACCEPTED:
        headers["Retry-After"] = str(math.ceil(min(max(seen.eta_seconds or 0, 1), _LONGEST_RETRY_SECONDS)))
    return Response(seen.model_dump_json(), status, headers, "application/json")


async def _submit(services: Services, caller: Principal, body: ParsedBody) -> SubmitResult:
    command = await run_in_threadpool(services.commands.read, body.fields, caller)
    return await services.explanations.submit(command, body.image)


async def _submitted(services: Services, explanation_id: str) -> SubmitResult | None:
    record = await run_in_threadpool(services.store.read, explanation_id)
    return None if record is None else SubmitResult(record, created=True)


def preferred_wait(prefer: str | None, *, longest: float) -> float | None:
    """Return the seconds of `Prefer: wait=N`, within a limit; None where there is none."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?", prefer or "", re.IGNORECASE)
    return min(float(found[1]), longest) if found else None


def _view(services: Services, record: ExplanationRecord) -> ExplanationView:
    audit = services.store.read(audit_id(record.id)) if record.audited else None
    if record.status is not Status.QUEUED:
        return view(record, None, audit=audit)
    try:
        resolved = services.catalogue.now().route(record.request)
    except RiseError:
        return view(record, None, audit=audit)
    eta_seconds = services.admission.eta_seconds(record.id, queue=resolved.queue, workers=resolved.workers)
    return view(record, services.jobs.position(resolved.queue, record.id), eta_seconds, audit=audit)


@router.get(
    "/{explanation_id}",
    operation_id="getExplanation",
    response_model=ExplanationView,
    responses={200: {"headers": FRESHNESS}, **NOT_MODIFIED},
)
async def read(
    explanation_id: str,
    services: ServicesDep,
    caller: Reader,
    if_none_match: IfNoneMatch,
    wait: Wait = None,
) -> Response:
    """Return an explanation: its status, its progress, its targets and the addresses of their maps."""
    if wait is not None:
        await run_in_threadpool(existing_record, services, caller, explanation_id)
        seconds = min(wait, services.settings.max_wait_seconds)
        await wait_for_record(services, caller, explanation_id, seconds=seconds)
    tenant, body = _rendered(*await services.explanations.read_raw(explanation_id), root_path())
    if body is None or tenant != caller.tenant:
        body = await run_in_threadpool(_current, services, caller, explanation_id)
    return current_json(body, if_none_match)


@lru_cache(maxsize=_VIEWS_KEPT)
def _rendered(stored: RawRecord, stored_audit: RawRecord, _root_path: str) -> tuple[str | None, str | None]:
    """Return tenant and view, as JSON, of a stored explanation; None for one that waits or does not exist."""
    record = parse_record(dict(stored))
    if record is None or record.status is Status.QUEUED:  # because its place in the queue is not stored with it
        return None, None
    if audited_id(record.id) is not None:
        return None, None
    return record.tenant, view(record, None, audit=parse_record(dict(stored_audit))).model_dump_json()


def _current(services: Services, caller: Principal, explanation_id: str) -> str:
    return _view(services, existing_record(services, caller, explanation_id)).model_dump_json()


@router.post("/{explanation_id}/cancel", status_code=202, operation_id="cancelExplanation")
def cancel(explanation_id: str, services: ServicesDep, caller: Explainer) -> ExplanationView:
    """Stop an explanation and its audit; a running one stops within one block. What has ended stays as it is."""
    existing_record(services, caller, explanation_id)
    services.remover.cancel(explanation_id)
    return _view(services, existing_record(services, caller, explanation_id))


@router.delete("/{explanation_id}", status_code=204, operation_id="deleteExplanation")
def delete(explanation_id: str, services: ServicesDep, caller: Explainer) -> None:
    """Remove an explanation now: its record, its events, its image and its maps; a worker that runs it stops."""
    existing_record(services, caller, explanation_id)
    services.remover.delete(explanation_id)
