"""Create, read, wait for and cancel explanations."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.bodies import read_body
from app.caller import Caller
from app.contract.errors import RiseError
from app.contract.schemas import JsonObject, Record, Status
from app.contract.schemas import Request as Asked
from app.dependencies import Explainer, Reader, Service, Services, chosen_image, existing_record
from app.freshness import etag, is_fresh
from app.intake import check_image
from app.openapi import CREATE_BODY, FRESHNESS, NOT_MODIFIED, PROBLEMS
from app.outbound.callbacks import take_callback
from app.removal import erase_explanation, stop_explanation
from app.submission import Submitted, build_request, read_question
from app.views import Explanation, explanation_path, view

router = APIRouter(prefix="/v1/explanations", tags=["explanations"], responses=PROBLEMS)

Wait = Annotated[float | None, Query(ge=0, description="Seconds to hold the request until the explanation has ended.")]


@router.post(
    "",
    status_code=202,
    response_model=Explanation,
    operation_id="createExplanation",
    responses={200: {"model": Explanation, "description": "The same explanation exists already, or it has ended."}},
    openapi_extra=CREATE_BODY,
)
async def create(
    request: Request,
    response: Response,
    services: Service,
    caller: Explainer,
    prefer: Annotated[str | None, Header(description="`wait=N`: hold for N seconds until it has ended.")] = None,
) -> Explanation:
    """Explain an image: send it with a model's id; poll, wait for or fetch the result by the id that comes back."""
    body = await read_body(request)
    callback = take_callback(body.fields, services.pictures.hosts, signed=services.signs_callbacks)
    asked = await run_in_threadpool(_asked, services, body.fields)
    content = await chosen_image(services, caller, body.image)
    submitted = await run_in_threadpool(_submit, services, caller, asked, content)
    record = submitted.record
    if callback is not None:
        await run_in_threadpool(services.callbacks.register, record.id, callback)
    seconds = _preferred_wait(prefer, longest=services.settings.max_wait_seconds)
    if seconds is not None:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
        record = await _wait(services, caller, record, seconds)
    response.headers["Location"] = explanation_path(record.id)
    if record.status.ended or not submitted.created:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = "1"
    return await run_in_threadpool(_view, services, record)


def _asked(services: Services, fields: JsonObject) -> Asked:
    question, parameters = read_question(fields)
    return build_request(services.catalogue.now(), question, parameters)


def _submit(services: Services, caller: Caller, asked: Asked, content: bytes) -> Submitted:
    image = check_image(content, services.settings)
    return services.submission.submit(services.catalogue.now(), asked, image, caller.tenant)


def _preferred_wait(prefer: str | None, *, longest: float) -> float | None:
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?", prefer or "")
    return min(float(found[1]), longest) if found else None


async def _wait(services: Services, caller: Caller, record: Record, seconds: float) -> Record:
    """Return the record when its explanation has ended, or as it is when the time is up."""
    after = await services.events.position(record.id)
    record = await asyncio.to_thread(existing_record, services, caller, record.id)
    if record.status.ended:
        return record
    seconds = min(seconds, services.settings.max_wait_seconds)
    await services.events.wait_for_end(record.id, after=after, seconds=seconds)
    return await asyncio.to_thread(existing_record, services, caller, record.id)


def _view(services: Services, record: Record) -> Explanation:
    waits = record.status is Status.QUEUED
    return view(record, _queue_position(services, record) if waits else None)


def _queue_position(services: Services, record: Record) -> int | None:
    try:
        queue = services.catalogue.now().queue_of(record.request.model.id)
    except RiseError:
        return None
    return services.jobs.position(queue, record.id)


@router.get(
    "/{explanation_id}",
    operation_id="getExplanation",
    response_model=Explanation,
    responses={200: {"headers": FRESHNESS}, **NOT_MODIFIED},
)
async def read(
    explanation_id: str,
    response: Response,
    services: Service,
    caller: Reader,
    wait: Wait = None,
    if_none_match: Annotated[str | None, Header(description="The `ETag` of the copy that the client has.")] = None,
) -> Explanation | Response:
    """Return an explanation: its status, its progress, its targets and the addresses of their maps."""
    record = await run_in_threadpool(existing_record, services, caller, explanation_id)
    if wait is not None:
        record = await _wait(services, caller, record, wait)
    shown = await run_in_threadpool(_view, services, record)
    headers = {"ETag": etag(shown.model_dump(mode="json")), "Cache-Control": "private, no-cache"}
    if is_fresh(headers["ETag"], if_none_match):
        return Response(status_code=304, headers=headers)
    response.headers.update(headers)
    return shown


@router.post("/{explanation_id}/cancel", status_code=202, operation_id="cancelExplanation")
def cancel(explanation_id: str, services: Service, caller: Explainer) -> Explanation:
    """Stop an explanation; a running one stops within one block. What has ended stays as it is."""
    existing_record(services, caller, explanation_id)
    stop_explanation(services, explanation_id)
    return _view(services, existing_record(services, caller, explanation_id))


@router.delete("/{explanation_id}", status_code=204, operation_id="deleteExplanation")
def delete(explanation_id: str, services: Service, caller: Explainer) -> None:
    """Remove an explanation now: its record, its events, its image and its maps; a worker that runs it stops."""
    existing_record(services, caller, explanation_id)
    erase_explanation(services, explanation_id)
