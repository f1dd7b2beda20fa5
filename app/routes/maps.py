"""Fetch what an explanation shows: its maps in any format, and its image."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from app.contract.blobs import image_blob
from app.contract.errors import RiseError
from app.contract.images import upright_bytes
from app.dependencies import Reader, Service, existing_record
from app.formats import Style, formats
from app.maps import sheet_of
from app.openapi import PROBLEMS

router = APIRouter(prefix="/v1/explanations", tags=["maps"], responses=PROBLEMS)


class MapStyle(Style):
    """How a map is drawn: its style, and its size."""

    max_side: int | None = Field(None, ge=1, le=100_000, description="Longest side in pixels; default: the image's.")


@router.get("/{explanation_id}/image", operation_id="getImage", response_class=Response)
def image(explanation_id: str, services: Service, caller: Reader) -> Response:
    """Return the uploaded image, upright: as it came, or where its EXIF says that it lies, rotated as a PNG."""
    record = existing_record(services, caller, explanation_id)
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
    caller: Reader,
    style: Annotated[MapStyle, Query()],
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the map of one target: `0.npy`, `0.npz`, `0.png`, `0.overlay.png`, or `0` by `Accept`.

    A map has the size of the uploaded image and the unit of the score: how the score changes when a pixel becomes
    visible. While the explanation runs, this is the running map.
    """
    index, ending = _parse_map_name(name, accept)
    record = existing_record(services, caller, explanation_id)
    module = formats()[ending]
    sheet = sheet_of(record, services.blobs, index, max_side=style.max_side)
    content: bytes = module.encode(sheet, style)
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
    types = sorted({module.MEDIA_TYPE.partition(";")[0] for module in formats().values()})
    raise RiseError("not-acceptable", f"a map comes as {', '.join(types)}")
