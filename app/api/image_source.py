"""Where the image of a request comes from: its bytes, an address to fetch it from, or an earlier upload."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.api.base64_text import decoded
from app.contract.errors import invalid_field


@dataclass(frozen=True)
class ByUrl:
    """An image to be fetched.

    Attributes:
        url: as the client wrote it.
        field: where it stood in the request, as a JSON pointer.
    """

    url: str
    field: str


@dataclass(frozen=True)
class ById:
    """An image that was uploaded before.

    Attributes:
        id: as `POST /v1/images` returned it.
        field: where it stood in the request, as a JSON pointer.
    """

    id: str
    field: str


ImageSource = bytes | ByUrl | ById


def read_source(given: Any, *, field: str = "/image") -> ImageSource:
    """Return the source that an `image` of a JSON request names.

    Raises:
        RiseError: `invalid-parameters`.
    """
    kind, content = next(iter(given.items())) if isinstance(given, Mapping) and len(given) == 1 else (None, None)
    if not isinstance(content, str) or kind not in {"base64", "url", "id"}:
        raise invalid_field(field, 'write it as {"base64": "..."}, {"url": "https://..."} or {"id": "..."}')
    if kind == "base64":
        return _file(content, f"{field}/base64")
    return ByUrl(content, f"{field}/url") if kind == "url" else ById(content, f"{field}/id")


def _file(text: str, field: str) -> bytes:
    try:
        return decoded(text)
    except ValueError as cause:
        raise invalid_field(field, "this is not base64") from cause
