"""Request bodies to plain fields: a form with a file, or JSON. Both mean the same request."""

import json
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, NamedTuple, NoReturn

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from app.api.image_source import read_source
from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import JsonObject
from app.images.source import ById, ByUrl, ImageSource

_PLAIN_TEXT = {"model", "method", "callback", "image_url", "image_id"}  # never read as JSON: a model may be called "1"
_PYTHON_WORDS = {"True": True, "False": False, "None": None}  # what Python's own HTTP clients write into forms
_IMAGE_FIELDS = ("image", "image_url", "image_id")
_MAX_FORM_FIELDS = 40
_MAX_FORM_FIELD_BYTES = 1_000_000
_MAX_JSON_BYTES = 30_000_000
_MUCH = 1_000_000  # bytes of JSON that are not read on the event loop
_STEP = 65_536
MOST_VALUES = 100_000  # of a JSON body


class ParsedBody(NamedTuple):
    """Where the image comes from, and all other fields."""

    image: ImageSource
    fields: JsonObject


async def read_body(request: Request) -> ParsedBody:
    """Read a form or JSON.

    Raises:
        RiseError: `unsupported-media-type`, `malformed-request` or `invalid-parameters`.
    """
    media_type = media_type_of(request)
    if media_type == "multipart/form-data":
        parts = await read_form(request)
        return ParsedBody(_form_image(dict(parts)), form_fields(parts, files=_IMAGE_FIELDS))
    if media_type == "application/json":
        content = await request.body()
        return await run_in_threadpool(_from_json, content) if len(content) > _MUCH else _from_json(content)
    raise unsupported(media_type)


def media_type_of(request: Request) -> str:
    """Return the type of a request's body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(media_type: str, supported: str = "multipart/form-data or application/json") -> RiseError:
    """Return the error for a body of a type that is not read where it was sent."""
    return RiseError("unsupported-media-type", f"send {supported}, not {media_type or 'nothing'!r}")


async def read_form(request: Request) -> list[tuple[str, str | bytes]]:
    """Return the fields of a form with at most one file, by name; a file as its bytes.

    Raises:
        HTTPException: 400 where it is not a form, or has too many parts or too large ones, by Starlette.
    """
    async with request.form(max_files=1, max_fields=_MAX_FORM_FIELDS, max_part_size=_MAX_FORM_FIELD_BYTES) as form:
        return [
            (name, await value.read() if isinstance(value, UploadFile) else value) for name, value in form.multi_items()
        ]


def form_fields(parts: Collection[tuple[str, object]], *, files: Collection[str]) -> JsonObject:
    """Return the fields of a form that are not files; structured ones are JSON text.

    Raises:
        RiseError: `invalid-parameters` for one that comes twice, or a file that is not expected.
    """
    names = [name for name, _ in parts]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise invalid_field(f"/{repeated}", "given more than once")
    return {name: _value(name, value) for name, value in parts if name not in files}


def _form_image(form: Mapping[str, str | bytes]) -> ImageSource:
    given = [name for name in _IMAGE_FIELDS if name in form]
    content = form[given[0]] if len(given) == 1 else None
    if given == ["image"] and isinstance(content, bytes):
        return content
    if given != ["image"] and isinstance(content, str):
        return ByUrl(content, "/image_url") if given == ["image_url"] else ById(content, "/image_id")
    raise invalid_field("/image", "send one file, or else image_url or image_id")


def _value(name: str, value: object) -> Any:
    if not isinstance(value, str):
        raise invalid_field(f"/{name}", "this is not a file")
    if name in _PLAIN_TEXT:
        return value
    try:
        return _parsed(value)
    except (ValueError, RecursionError):
        return _PYTHON_WORDS.get(value, value)


def _from_json(content: bytes) -> ParsedBody:
    fields = parse_json_object(content)
    return ParsedBody(read_source(fields.pop("image", None)), fields)


async def read_json(request: Request) -> JsonObject:
    """Return the fields of a JSON body whose bound is that of files, and far too much for JSON.

    Raises:
        RiseError: `request-too-large` or `malformed-request`.
    """
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > _MAX_JSON_BYTES:
            raise RiseError("request-too-large", f"a JSON body has at most {_MAX_JSON_BYTES} bytes here; send files")
    return await run_in_threadpool(parse_json_object, bytes(content))


def parse_json_object(content: bytes, *, most_values: int = MOST_VALUES) -> JsonObject:
    """Return the fields of a JSON body.

    Raises:
        RiseError: `malformed-request`, or `request-too-large` for more values.
    """
    limit_json_values(content, most_values)
    try:
        fields = _parsed(content.decode())
    except (ValueError, RecursionError) as cause:
        raise RiseError("malformed-request", "the body is not JSON") from cause
    if not isinstance(fields, dict):
        raise RiseError("malformed-request", "the body is not a JSON object")
    return fields


def limit_json_values(content: bytes, most: int) -> None:
    """Refuse JSON of more values than anybody needs, before it is parsed, which keeps the interpreter to itself.

    Raises:
        RiseError: `request-too-large`.
    """
    seen = 0
    for place in range(0, len(content), _STEP):
        # A comma between each two; and lists in lists, of which a hundred thousand may be a hundred deep each.
        seen += sum(content.count(mark, place, place + _STEP) for mark in (b",", b"[", b"{"))
        if seen > most:
            raise RiseError(
                "request-too-large", f"a JSON body holds at most {most:,} values here; send pictures as files"
            )


class BoundedJsonRoute(APIRoute):
    """A route whose JSON body FastAPI parses, on the event loop, once its values and bytes are counted.

    Attributes:
        most_values: as many as a question has; each that is wrong becomes an error of its own.
        most_bytes: the same.
    """

    most_values = 1_000
    most_bytes = 100_000

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers requests."""
        handle = super().get_route_handler()

        async def counted(request: Request) -> Response:
            content = await request.body()
            if content and media_type_of(request) != "application/json":
                raise unsupported(media_type_of(request), "application/json")
            if len(content) > self.most_bytes:
                raise RiseError("request-too-large", f"a body has at most {self.most_bytes:,} bytes here")
            limit_json_values(content, self.most_values)
            return await handle(request)

        return counted


def _parsed(text: str) -> Any:
    """Return the value of JSON text, all of whose texts can be written again.

    Raises:
        ValueError: also for NaN, and for half of a surrogate pair, which no UTF-8 can hold.
        RecursionError: where it nests too deep.
    """
    value = _DECODER.decode(text)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
