"""The body of `:explain`: images as files or as nested numbers, and parameters.

Numbers are encoded as PNG, which is lossless for eight bits, so that the rest of the service handles files alone. They
take more memory than anything else in a request, and are counted before they are parsed.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from app.api.base64_text import decode_base64
from app.api.request_body import parse_json_object
from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import JsonObject

MAX_INSTANCES = 32
MAX_NUMBERS = 2_000_000  # of one request: an RGB image of 816 x 816 pixels

_FORMS = 'write it as {"image": {"b64": "..."}}, {"b64": "..."} or nested numbers: height, width, channels'


@dataclass(frozen=True)
class ExplainRequest:
    """The body of a request.

    Attributes:
        images: a file for each instance.
        parameters: as the client wrote them.
    """

    images: list[bytes]
    parameters: JsonObject


def read_instances(content: bytes) -> ExplainRequest:
    """Read a body.

    Raises:
        RiseError: `malformed-request`, `request-too-large`, or `invalid-parameters` pointing at the instance at fault.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > MAX_NUMBERS:
        detail = f"a request holds at most {MAX_NUMBERS:,} numbers; send large pictures as files: {_FORMS}"
        raise RiseError("request-too-large", detail)
    fields = parse_json_object(content, most_values=MAX_NUMBERS)
    instances, parameters = fields.pop("instances", None), fields.pop("parameters", None)
    if fields:
        raise invalid_field(f"/{next(iter(fields))}", "a request has instances and parameters, and nothing else")
    if not isinstance(instances, list) or not 1 <= len(instances) <= MAX_INSTANCES:
        raise invalid_field("/instances", f"send a list of 1 to {MAX_INSTANCES} pictures")
    if not isinstance(parameters, dict | None):
        raise invalid_field("/parameters", "write an object")
    images = [_image(instance, f"/instances/{index}") for index, instance in enumerate(instances)]
    return ExplainRequest(images, parameters or {})


def _image(instance: Any, field: str) -> bytes:
    if isinstance(instance, list):
        return _png(instance, field)
    inner = instance.get("image") if isinstance(instance, dict) and instance.keys() == {"image"} else instance
    if isinstance(inner, list):
        return _png(inner, field)
    if not isinstance(inner, dict) or inner.keys() != {"b64"} or not isinstance(inner["b64"], str):
        raise invalid_field(field, _FORMS)
    try:
        return decode_base64(inner["b64"])
    except ValueError as cause:
        raise invalid_field(field, "this is not base64") from cause


def _png(rows: Sequence[Any], field: str) -> bytes:
    """Return numbers `[H, W]`, `[H, W, 1]` or `[H, W, 3]` as a file."""
    array, whole = _numbers(rows, field)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape or array.ndim not in {2, 3} or array.shape[2:] not in {(), (3,)}:
        shape = " x ".join(map(str, array.shape))
        raise invalid_field(field, f"{shape} numbers are no picture: it has height, width, and 1 or 3 channels")
    buffer = io.BytesIO()
    levels = np.rint(array if whole else array * 255).astype(np.uint8)
    Image.fromarray(levels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _numbers(rows: Sequence[Any], field: str) -> tuple[np.ndarray[Any, np.dtype[np.float64]], bool]:
    """Return numbers, and whether they are levels from 0 to 255 or values from 0 to 1.

    An image whose numbers are all integers has levels. Where both may be meant, the image is refused.
    """
    types = _number_types(rows)
    if not types or not types <= {int, float}:
        raise invalid_field(
            field, "a picture is a list of rows, these are lists of pixels, these numbers or lists of them"
        )
    try:
        array = np.array(rows, dtype=np.float64)
    except (ValueError, OverflowError) as cause:
        raise invalid_field(field, "rows and pixels must have the same length everywhere") from cause
    whole, low, high = float not in types, array.min(initial=0), array.max(initial=0)
    if low < 0 or high > (255 if whole else 1):
        advice = "write whole numbers from 0 to 255, or numbers with a point from 0 to 1"
        raise invalid_field(field, f"its numbers reach from {low:g} to {high:g}: {advice}")
    if whole and high == 1:
        advice = "write 0.0 and 1.0 for black and white, or send a file"
        raise invalid_field(field, f"whole numbers of which none is above 1 are levels that nobody can see: {advice}")
    return array, whole


def _number_types(rows: Sequence[Any]) -> set[type]:
    """Return the types of the numbers in rows of pixels, or of the values instead of them."""
    cells = [cell for row in rows for cell in (row if isinstance(row, list) else [row])]
    return {type(value) for cell in cells for value in (cell if isinstance(cell, list) else [cell])}
