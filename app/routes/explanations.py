"""Create, read, wait for and cancel explanations; fetch their maps and image."""

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.bodies import Body, read_body
from app.contract.blobs import image_blob
from app.contract.errors import RiseError
from app.contract.images import upright_bytes
from app.contract.schemas import Record, Status
from app.dependencies import Service, Services, existing_record
from app.formats import Style, formats
from app.intake import check_image
from app.maps import sheet_of
from app.openapi import CREATE_BODY, PROBLEMS
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
    prefer: Annotated[str | None, Header(description="`wait=N`: hold for N seconds until it has ended.")] = None,
) -> Explanation:
    """Explain an image: send it with a model's id; poll, wait for or fetch the result by the id that comes back."""
    body = await read_body(request)
    submitted = await run_in_threadpool(_submit, services, body)
    record = submitted.record
    seconds = _preferred_wait(prefer)
    if seconds is not None:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
        record = await _wait(services, record, seconds)
    response.headers["Location"] = explanation_path(record.id)
    if record.status.ended or not submitted.created:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = "1"
    return await run_in_threadpool(_view, services, record)


def _submit(services: Services, body: Body) -> Submitted:
    question, parameters = read_question(body.fields)
    catalogue = services.catalogue.now()
    asked = build_request(catalogue, question, parameters)
    return services.submission.submit(catalogue, asked, check_image(body.image, services.settings))


def _preferred_wait(prefer: str | None) -> float | None:
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,9})\"?", prefer or "")
    return float(found[1]) if found else None


async def _wait(services: Services, record: Record, seconds: float) -> Record:
    """Return the record when its explanation has ended, or as it is when the time is up."""
    after = await services.events.position(record.id)
    record = await asyncio.to_thread(existing_record, services, record.id)
    if record.status.ended:
        return record
    seconds = min(seconds, services.settings.max_wait_seconds)
    await services.events.wait_for_end(record.id, after=after, seconds=seconds)
    return await asyncio.to_thread(existing_record, services, record.id)


def _view(services: Services, record: Record) -> Explanation:
    waits = record.status is Status.QUEUED
    return view(record, _queue_position(services, record) if waits else None)


def _queue_position(services: Services, record: Record) -> int | None:
    try:
        queue = services.catalogue.now().queue_of(record.request.model.id)
    except RiseError:
        return None
    return services.jobs.position(queue, record.id)


@router.get("/{explanation_id}", operation_id="getExplanation")
async def read(explanation_id: str, services: Service, wait: Wait = None) -> Explanation:
    """Return an explanation: its status, its progress, its targets and the addresses of their maps."""
    record = await run_in_threadpool(existing_record, services, explanation_id)
    if wait is not None:
        record = await _wait(services, record, wait)
    return await run_in_threadpool(_view, services, record)


@router.post("/{explanation_id}/cancel", status_code=202, operation_id="cancelExplanation")
def cancel(explanation_id: str, services: Service) -> Explanation:
    """Stop an explanation; a running one stops within one block. What has ended stays as it is."""
    if services.store.cancel(explanation_id):
        services.jobs.remove(explanation_id)
    return _view(services, existing_record(services, explanation_id))


@router.get("/{explanation_id}/image", operation_id="getImage", response_class=Response)
def image(explanation_id: str, services: Service) -> Response:
    """Return the uploaded image, upright: as it came, or where its EXIF says that it lies, rotated as a PNG."""
    record = existing_record(services, explanation_id)
    content, media_type = upright_bytes(services.blobs.get(image_blob(record.id)))
    return Response(content, media_type=media_type, headers={"ETag": f'"{record.image.sha256}"'})


@router.get(
    "/{explanation_id}/maps/{name}",
    operation_id="getMap",
    response_class=Response,
    responses={200: {"content": {module.MEDIA_TYPE.partition(";")[0]: {} for module in formats().values()}}},
)
def saliency_map(
    explanation_id: str,
    name: str,
    services: Service,
    accept: Annotated[str | None, Header()] = None,
    alpha: Annotated[float, Query(ge=0, le=1, description="Opacity of the strongest colour of an overlay.")] = 0.7,
    cmap: Annotated[str | None, Query(max_length=100, description="A colour map's name, e.g. viridis.")] = None,
    signed: Annotated[bool, Query(description="Show effects below 0 too.")] = False,
    max_side: Annotated[int | None, Query(ge=1, le=100_000, description="Longest side in pixels.")] = None,
) -> Response:
    """Return the map of one target: `0.npy`, `0.npz`, `0.png`, `0.overlay.png`, or `0` by `Accept`.

    A map has the size of the uploaded image and the unit of the score: how the score changes when a pixel becomes
    visible. While the explanation runs, this is the running map.
    """
    index, ending = _parse_map_name(name, accept)
    record = existing_record(services, explanation_id)
    module = formats()[ending]
    sheet = sheet_of(record, services.blobs, index, max_side=max_side)
    content: bytes = module.encode(sheet, Style(alpha=alpha, cmap=cmap, signed=signed))
    return Response(content, media_type=module.MEDIA_TYPE.partition(";")[0])


def _parse_map_name(name: str, accept: str | None) -> tuple[int, str]:
    found = re.fullmatch(r"(\d{1,6})(?:\.([a-z0-9.]+))?", name)
    if found is None or (found[2] is not None and found[2] not in formats()):
        raise RiseError("not-found", f"a map is called INDEX.ENDING, with an ending of {', '.join(formats())}")
    return int(found[1]), found[2] or _accepted(accept)


def _accepted(accept: str | None) -> str:
    wanted = [part.partition(";")[0].strip() for part in (accept or "*/*").split(",")]
    for media_type in wanted:
        if media_type in {"*/*", "application/*"}:
            return "npy"
        if media_type == "image/*":
            return "png"
        for ending, module in formats().items():
            if media_type == module.MEDIA_TYPE:
                return ending
    types: list[Any] = sorted({module.MEDIA_TYPE.partition(";")[0] for module in formats().values()})
    raise RiseError("not-acceptable", f"a map comes as {', '.join(types)}")
