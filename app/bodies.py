"""Request bodies to plain fields: a form with a file, or JSON with base64. Both mean the same request."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from app.contract.errors import RiseError, wrong_field
from app.contract.schemas import JsonObject

_PLAIN_TEXT = {"model", "method", "callback"}  # never read as JSON: a model may be called "1"
_MAX_FIELDS = 40
_MAX_PART_BYTES = 1_000_000


class Body(NamedTuple):
    """The bytes of the image, and all other fields."""

    image: bytes
    fields: JsonObject


async def read_body(request: Request) -> Body:
    """Read a form or JSON.

    Raises:
        RiseError: `unsupported-media-type`, `malformed-request` or `invalid-parameters`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        async with request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_PART_BYTES) as form:
            return await _from_form(form)
    if media_type == "application/json":
        return _from_json(await request.body())
    raise RiseError(
        "unsupported-media-type", f"send multipart/form-data or application/json, not {media_type or 'nothing'!r}"
    )


async def _from_form(form: FormData) -> Body:
    names = [name for name, _ in form.multi_items()]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise wrong_field(f"/{repeated}", "given more than once")
    image = form.get("image")
    if not isinstance(image, UploadFile):
        raise wrong_field("/image", "a file is required")
    fields = {name: _value(name, value) for name, value in form.items() if name != "image"}
    return Body(await image.read(), fields)


def _value(name: str, value: UploadFile | str) -> Any:
    if isinstance(value, UploadFile):
        raise wrong_field(f"/{name}", "only the image is a file")
    if name in _PLAIN_TEXT:
        return value
    try:
        return json.loads(value, parse_constant=_refuse_constant)
    except ValueError:
        return value


def _from_json(content: bytes) -> Body:
    try:
        fields = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as cause:
        raise RiseError("malformed-request", "the body is not JSON") from cause
    if not isinstance(fields, dict):
        raise RiseError("malformed-request", "the body is not a JSON object")
    return Body(_image_bytes(fields.pop("image", None)), fields)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _image_bytes(given: Any) -> bytes:
    if not isinstance(given, Mapping) or set(given) != {"base64"} or not isinstance(given["base64"], str):
        raise wrong_field("/image", 'write it as {"base64": "..."}')
    try:
        return base64.b64decode(given["base64"], validate=True)
    except (binascii.Error, ValueError) as cause:
        raise wrong_field("/image/base64", "this is not base64") from cause
