"""Maps of an explanation in any format, and its image."""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from app.api.conditional_requests import etag, etag_matches, immutable_until_expiry, is_wildcard, map_cache_control
from app.api.content_negotiation import best_match, media_types, split_name
from app.api.dependencies import Reader, ServicesDep, existing_record
from app.api.list_headers import Accept, IfNoneMatch
from app.api.openapi_components import FRESHNESS, NOT_MODIFIED, PROBLEMS, header
from app.contract.audits import audit_id
from app.contract.errors import BlobNotFoundError, RiseError
from app.contract.images.decoding import BROWSER_FORMATS, upright_bytes
from app.contract.schemas import ExplanationRecord
from app.contract.storage.object_store import image_blob
from app.rendering.audit_maps import record_of_view, view_named
from app.rendering.formats import RenderedMap, RenderOptions, formats
from app.rendering.renderer import MapTarget, require_meaningful_map, resolve_class, target_at
from app.services import Services

router = APIRouter(prefix="/v1/explanations", tags=["maps"], responses=PROBLEMS)

_MOST_MERGES = 4  # while one map is drawn: eight checkpoints lie between two

_MAPS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The map.",
        "content": {media_type: {} for media_type in media_types()},
        "headers": {
            **FRESHNESS,
            "Saliency-Low": header("The map's smallest value, in units of the score: black of a grey PNG.", "-0.0021"),
            "Saliency-High": header("The map's largest value: white of a grey PNG.", "0.0187"),
            "Saliency-Reliability": header("Expected correlation with the fully converged map, 0..1.", "0.967"),
            "Saliency-Peak": header("x, y of the map's maximum, in pixels of the image.", "120.5,88.5"),
        },
    },
    **NOT_MODIFIED,
}


class MapStyle(RenderOptions):
    """How a map is drawn: its style, its size, and which part of it."""

    max_side: int | None = Field(None, ge=1, le=100_000, description="Longest side in pixels; default: the image's.")
    fill: str | None = Field(
        None, max_length=50, description="Which of several fills (`mc-rise`); or one that an audit has tried."
    )
    opacity: float | None = Field(None, gt=0, le=1, description="The audit's map by masks that hide only partly: 0.3.")
    method: Literal["grad-cam"] | None = Field(
        None,
        description="The audit's Grad-CAM, of a PyTorch classifier: at least 0, in a unit of its own, no error bars.",
    )


Drawn = Annotated[MapStyle, Query()]
MapName = Annotated[str, Path(description="Index of the target and ending.", examples=["0.overlay.png"])]
ClassName = Annotated[str, Path(description="Name or index of the class, and ending.", examples=["ring.npy"])]


@router.get(
    "/{explanation_id}/image",
    operation_id="getImage",
    response_class=Response,
    responses={
        200: {"content": {media_type: {} for media_type in BROWSER_FORMATS.values()}, "headers": FRESHNESS},
        **NOT_MODIFIED,
    },
)
def image(explanation_id: str, services: ServicesDep, caller: Reader, if_none_match: IfNoneMatch) -> Response:
    """Return the uploaded image as browsers show it: as it came, or where its EXIF or format needs it, as a PNG."""
    record = existing_record(services, caller, explanation_id)
    headers = {"ETag": etag("image", record.image.sha256), "Cache-Control": immutable_until_expiry(record)}
    if etag_matches(headers["ETag"], if_none_match):
        return Response(status_code=304, headers=headers)
    upright = partial(upright_bytes, services.blobs.get(image_blob(record.id)))
    content, media_type = services.renderer.run(record.image, upright)
    return Response(content, media_type=media_type, headers=headers)


@router.get("/{explanation_id}/maps/{name}", operation_id="getMap", response_class=Response, responses=_MAPS)
async def saliency_map(
    explanation_id: str,
    name: MapName,
    services: ServicesDep,
    caller: Reader,
    style: Drawn,
    accept: Accept,
    if_none_match: IfNoneMatch,
) -> Response:
    """Return the map of one target: `0.npy`, `0.npz`, `0.json`, `0.png`, `0.overlay.png`, `0.mask.png`, `0.coco.json`.

    Without an ending it comes by `Accept`. A map has the size of the uploaded image and the unit of the score: how the
    score changes when a pixel becomes visible. While the explanation runs, this is the running map. With `fill`,
    `opacity` or `method` it is a map of the audit: 404 where that has none, 409 where it is not there yet.
    """
    index, ending = split_name(name)
    if re.fullmatch(r"[0-9]{1,6}", index) is None:
        raise RiseError("not-found", f"a map is called INDEX.ENDING, with an ending of {', '.join(formats())}")

    def find() -> MapRequest:
        record = _record_with(services, existing_record(services, caller, explanation_id), style)
        return MapRequest(record, target_at(record, int(index)), ending or best_match(accept), style)

    return await _answer(services, find, if_none_match)


@router.get(
    "/{explanation_id}/maps/label/{name:path}", operation_id="getMapOfClass", response_class=Response, responses=_MAPS
)
async def map_of_class(
    explanation_id: str,
    name: ClassName,
    services: ServicesDep,
    caller: Reader,
    style: Drawn,
    accept: Accept,
    if_none_match: IfNoneMatch,
) -> Response:
    """Return the map of any class of a classifier, by name or index and with the endings of a target's map: `ring.png`.

    The class need not have been asked for: where effects of all classes were kept, its map is drawn from them, with
    its own reliability. Where they were not (detectors, the published estimator, very many classes), this is
    `not-kept`.
    """
    label, ending = split_name(name)

    def find() -> MapRequest:
        record = _record_with(services, existing_record(services, caller, explanation_id), style)
        subject = resolve_class(record, label, services.catalogue.now().labels_of(record.request.model))
        return MapRequest(record, subject, ending or best_match(accept), style)

    return await _answer(services, find, if_none_match)


def _record_with(services: Services, record: ExplanationRecord, style: MapStyle) -> ExplanationRecord:
    """Return the record that has the map of a style: the explanation's, or one of its audit."""
    name = view_named(
        record,
        fill=style.fill,
        opacity=style.opacity,
        method=style.method,
        fills=lambda: services.catalogue.now().fills,
    )
    if name is None:
        return record
    return record_of_view(services.store.read(audit_id(record.id)), name, opacity=style.opacity)


class MapRequest(NamedTuple):
    """A map to render: of what, in which format and style."""

    record: ExplanationRecord
    subject: MapTarget
    ending: str
    style: MapStyle


async def _answer(services: Services, find: Callable[[], MapRequest], if_none_match: str | None) -> Response:
    """Render a map; look it up again where the checkpoints of a running explanation were merged meanwhile."""
    map_request = await run_in_threadpool(find)
    for _ in range(_MOST_MERGES):
        try:
            return await _render_response(services, map_request, if_none_match)
        except BlobNotFoundError:
            newer = await run_in_threadpool(find)
            if newer.record.state == map_request.record.state:
                raise
            map_request = newer
    return await _render_response(services, map_request, if_none_match)


async def _render_response(services: Services, map_request: MapRequest, if_none_match: str | None) -> Response:
    require_meaningful_map(map_request.record, map_request.subject.target)
    headers = {"ETag": _map_etag(map_request), "Cache-Control": map_cache_control(map_request.record), "Vary": "Accept"}
    fresh = etag_matches(headers["ETag"], if_none_match)
    if fresh and not is_wildcard(if_none_match):  # because `*` matches only a map that exists
        return Response(status_code=304, headers=headers)
    record, subject, ending, style = map_request
    module = formats()[ending]
    sides = [side for side in (style.max_side, getattr(module, "MAX_SIDE", None)) if side is not None]

    def encoded(rendered: RenderedMap) -> Response:
        content: bytes = module.encode(rendered, style)
        return Response(
            content, media_type=module.MEDIA_TYPE.partition(";")[0], headers=headers | _saliency_headers(rendered)
        )

    render = services.renderer.render_async
    answer = await render(record, subject, encoded, max_side=min(sides, default=None), fill=style.fill)
    return Response(status_code=304, headers=headers) if fresh else answer


def _map_etag(map_request: MapRequest) -> str:
    """Return the entity tag of a map: explanation, number of blocks, target, format and style."""
    record, subject, ending, style = map_request
    blocks = 0 if record.state is None else record.state.blocks
    target = subject.target.model_dump(mode="json")
    created_at = record.created_at.isoformat()
    return etag(
        record.id, created_at, record.status, blocks, subject.row, target, ending, style.model_dump(mode="json")
    )


def _saliency_headers(rendered: RenderedMap) -> dict[str, str]:
    values, target = rendered.drawn.values, rendered.target
    headers = {"Saliency-Low": repr(float(values.min())), "Saliency-High": repr(float(values.max()))}
    if target.reliability is not None:
        headers["Saliency-Reliability"] = f"{target.reliability:.4f}"
    if target.peak is not None:
        headers["Saliency-Peak"] = ",".join(f"{side:.1f}" for side in target.peak)
    return headers
