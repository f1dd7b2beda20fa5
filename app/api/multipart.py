"""Forms to parts: small ones as every well-known client writes them at once, all others by Starlette's parser.

Starlette's parser goes through a form byte by byte where it is not content, in Python: for a photograph with a handful
of fields that is a third of what reading the request takes. A plain form is cut at its boundaries instead. Whatever is
unusual about one, and whatever is wrong, is left to Starlette, so that there is one judge of it; one that does not say
its length, or is too long to be held in memory while it comes, is too.
"""

import re
from typing import NamedTuple

from starlette.datastructures import UploadFile
from starlette.requests import Request

_MAX_FIELDS = 40
_MAX_PART_BYTES = 1_000_000
_PLAIN_BYTES = 1_000_000  # about what Starlette, too, holds in memory of a file

_PLAIN_TYPE = re.compile(r'multipart/form-data; *boundary=("?)([0-9A-Za-z_.-]{1,70})\1')
_PLAIN_HEAD = re.compile(
    rb'\r\nContent-Disposition: form-data; name="([A-Za-z0-9_]+)"'
    rb'(; filename="[^"\\\r\n]*")?(?:\r\nContent-Type: [!-~]+)?',
    re.IGNORECASE,
)


class FormPart(NamedTuple):
    """One part of a form: a field's text, or a file's bytes."""

    name: str
    value: str | bytes


async def read_form(request: Request) -> list[FormPart]:
    """Return the parts of a form with at most one file.

    Raises:
        HTTPException: 400 where it is not a form, or has too many parts or too large ones, by Starlette.
    """
    if is_short(request):
        parts = parse_simple_multipart(request.headers["content-type"], await request.body())
        if parts is not None:
            return parts
    async with request.form(max_files=1, max_fields=_MAX_FIELDS, max_part_size=_MAX_PART_BYTES) as form:
        return [
            FormPart(name, await value.read() if isinstance(value, UploadFile) else value)
            for name, value in form.multi_items()
        ]


def is_short(request: Request) -> bool:
    """Return whether a request says how long its body is, and may be held in memory whole."""
    length = request.headers.get("content-length", "")
    return length.isdigit() and int(length) <= _PLAIN_BYTES and "transfer-encoding" not in request.headers


def parse_simple_multipart(content_type: str, body: bytes) -> list[FormPart] | None:
    """Return the parts of a plain form; None for one that is not."""
    found = _PLAIN_TYPE.fullmatch(content_type)
    if found is None:
        return None
    boundary = b"--" + found[2].encode()
    if not body.startswith(boundary):
        return None
    parts, place = [], len(boundary)
    while (end := body.find(b"\r\n" + boundary, place)) >= 0:
        part = _plain_part(body, place, end)
        if part is None:
            return None
        parts.append(part)
        place = end + len(boundary) + 2
    files = sum(isinstance(part.value, bytes) for part in parts)
    is_whole = body[place:] in {b"--\r\n", b"--"}
    return parts if is_whole and files <= 1 and len(parts) - files <= _MAX_FIELDS else None


def _plain_part(body: bytes, start: int, end: int) -> FormPart | None:
    gap = body.find(b"\r\n\r\n", start, end)
    found = _PLAIN_HEAD.fullmatch(body, start, gap) if gap >= 0 else None
    if found is None:
        return None
    content = body[gap + 4 : end]
    try:
        return FormPart(found[1].decode(), content.decode() if found[2] is None else content)
    except UnicodeDecodeError:
        return None
