"""Where the image of a request comes from: its bytes, or an address to fetch it from."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.contract.errors import wrong_field


@dataclass(frozen=True)
class ByUrl:
    """An image to be fetched.

    Attributes:
        url: as the client wrote it.
        field: where it stood in the request, as a JSON pointer.
    """

    url: str
    field: str


Source = bytes | ByUrl


def read_source(given: Any, *, field: str = "/image") -> Source:
    """Return the source that an `image` of a JSON request names.

    Raises:
        RiseError: `invalid-parameters`.
    """
    kind, content = next(iter(given.items())) if isinstance(given, Mapping) and len(given) == 1 else (None, None)
    if kind not in {"base64", "url"} or not isinstance(content, str):
        raise wrong_field(field, 'write it as {"base64": "..."} or {"url": "https://..."}')
    return _decoded(content, f"{field}/base64") if kind == "base64" else ByUrl(content, f"{field}/url")


def _decoded(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise wrong_field(field, "this is not base64") from cause
