"""Request bodies to plain fields: a form with a file, or JSON. Both mean the same request."""

import json
from typing import Any, NamedTuple, NoReturn

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from app.contract.errors import RiseError, wrong_field
from app.contract.schemas import JsonObject
from app.sources import ByUrl, Source, read_source

_PLAIN_TEXT = {"model", "method", "callback", "image_url"}  # never read as JSON: a model may be called "1"
_IMAGE_FIELDS = ("image", "image_url")
_MAX_FIELDS = 40
_MAX_PART_BYTES = 1_000_000


class Body(NamedTuple):
    """Where the image comes from, and all other fields."""

    image: Source
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
    fields = {name: _value(name, value) for name, value in form.items() if name not in _IMAGE_FIELDS}
    return Body(await _form_image(form), fields)


async def _form_image(form: FormData) -> Source:
    image, url = (form.get(name) for name in _IMAGE_FIELDS)
    if image is None and isinstance(url, str):
        return ByUrl(url, "/image_url")
    if not isinstance(image, UploadFile) or url is not None:
        raise wrong_field("/image", "send one file, or else image_url")
    return await image.read()


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
    return Body(read_source(fields.pop("image", None)), fields)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
