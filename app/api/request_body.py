"""Request bodies: a form with a file, or JSON. Both are parsed to the same fields."""

import json
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, NamedTuple, NoReturn

from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from app.api.image_source import read_source
from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import JsonObject
from app.images.source import ById, ByUrl, ImageSource

_TEXT_FIELDS = {"model", "method", "callback", "image_url", "image_id"}  # never read as JSON: a model may be called "1"
_PYTHON_LITERALS = {"True": True, "False": False, "None": None}  # what Python's own HTTP clients write into forms
_IMAGE_FIELDS = ("image", "image_url", "image_id")
_MAX_FORM_FIELDS = 40
_MAX_FORM_FIELD_BYTES = 1_000_000
_MAX_JSON_BYTES = 30_000_000
_THREAD_BYTES = 1_000_000  # longer JSON is parsed in a thread
_COUNT_BYTES = 65_536
MOST_VALUES = 100_000  # of a JSON body


class ParsedBody(NamedTuple):
    """The source of the image, and all other fields."""

    image: ImageSource
    fields: JsonObject


async def read_body(request: Request) -> ParsedBody:
    """Return the parsed form or JSON body of a request.

    Raises:
        RiseError: `unsupported-media-type`, `malformed-request` or `invalid-parameters`.
    """
    media_type = media_type_of(request)
    if media_type == "multipart/form-data":
        parts = await read_form(request)
        return ParsedBody(_form_image(dict(parts)), form_fields(parts, files=_IMAGE_FIELDS))
    if media_type == "application/json":
        content = await request.body()
        return await run_in_threadpool(_from_json, content) if len(content) > _THREAD_BYTES else _from_json(content)
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
            (name, await value.read() if isinstance(value, UploadFile) else value) for name, value in sent_parts(form)
        ]


def sent_parts(form: FormData) -> list[tuple[str, str | UploadFile]]:
    """Return the fields of a form that its sender has filled in: browsers send empty texts and unnamed, empty files."""
    return [(name, value) for name, value in form.multi_items() if not name or not _is_empty(value)]


def _is_empty(value: str | UploadFile) -> bool:
    return not (value.filename or value.size) if isinstance(value, UploadFile) else not value


def form_fields(parts: Collection[tuple[str, object]], *, files: Collection[str]) -> JsonObject:
    """Return the fields of a form that are not files; structured ones are JSON text.

    Raises:
        RiseError: `invalid-parameters` for one that is given twice, or a file that is not expected.
    """
    names = [name for name, _ in parts]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise invalid_field(f"/{repeated}", "given more than once")
    return {name: _value(name, value) for name, value in parts if name not in files}


def _form_image(form: Mapping[str, str | bytes]) -> ImageSource:
    present = [name for name in _IMAGE_FIELDS if name in form]
    sent = [name for name in present if form[name]] or present
    content = form[sent[0]] if len(sent) == 1 else None
    if sent == ["image"] and isinstance(content, bytes):
        return content
    if sent != ["image"] and isinstance(content, str):
        return ByUrl(content, "/image_url") if sent == ["image_url"] else ById(content, "/image_id")
    raise invalid_field("/image", "send one file, or else image_url or image_id")


def _value(name: str, value: object) -> Any:
    if not isinstance(value, str):
        raise invalid_field(f"/{name}", "this is not a file")
    if name in _TEXT_FIELDS:
        return value
    try:
        return _parsed(value)
    except (ValueError, RecursionError):
        return _PYTHON_LITERALS.get(value, value)


def _from_json(content: bytes) -> ParsedBody:
    fields = parse_json_object(content)
    return ParsedBody(read_source(fields.pop("image", None)), fields)


async def read_json(request: Request) -> JsonObject:
    """Return the fields of a JSON body, on a path whose body limit is that of files.

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
        fields = _parsed(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as cause:
        raise RiseError("malformed-request", "the body is not JSON") from cause
    if not isinstance(fields, dict):
        raise RiseError("malformed-request", "the body is not a JSON object")
    return fields


def limit_json_values(content: bytes, most: int) -> None:
    """Refuse JSON of too many values before it is parsed, because the parser holds the interpreter lock.

    Raises:
        RiseError: `request-too-large`.
    """
    seen = 0
    for place in range(0, len(content), _COUNT_BYTES):
        # A comma between each two; and nested lists, of which a hundred thousand may be a hundred deep each.
        seen += sum(content.count(mark, place, place + _COUNT_BYTES) for mark in (b",", b"[", b"{"))
        if seen > most:
            raise RiseError(
                "request-too-large", f"a JSON body holds at most {most:,} values here; send pictures as files"
            )


class BoundedJsonRoute(APIRoute):
    """A route that limits the bytes and values of its JSON body before FastAPI parses it on the event loop.

    Attributes:
        most_values: of the body; each invalid one becomes an error of its own.
        most_bytes: of the body.
    """

    most_values = 1_000
    most_bytes = 100_000

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of requests."""
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
    """Return the value of JSON text, whose strings can all be encoded as UTF-8.

    Raises:
        ValueError: also for NaN and lone surrogates.
        RecursionError: where it is nested too deeply.
    """
    value = _DECODER.decode(text)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
