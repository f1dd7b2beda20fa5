"""The `image` of a JSON request: base64, a URL, or the id of an upload."""

from collections.abc import Mapping
from typing import Any

from app.api.base64_text import decode_base64
from app.contract.errors import invalid_field
from app.images.source import ById, ByUrl, ImageSource


def read_source(value: Any, *, field: str = "/image") -> ImageSource:
    """Return the source that an `image` of a JSON request names.

    Raises:
        RiseError: `invalid-parameters`.
    """
    kind, content = next(iter(value.items())) if isinstance(value, Mapping) and len(value) == 1 else (None, None)
    if not isinstance(content, str) or kind not in {"base64", "url", "id"}:
        raise invalid_field(field, 'write it as {"base64": "..."}, {"url": "https://..."} or {"id": "..."}')
    if kind == "base64" or content[:5].lower() == "data:":
        return _file(content, f"{field}/{kind}")
    return ByUrl(content, f"{field}/url") if kind == "url" else ById(content, f"{field}/id")


def _file(text: str, field: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as cause:
        raise invalid_field(field, "this is not base64") from cause
