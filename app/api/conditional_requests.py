"""Conditional requests and cache control (RFC 9110 section 13, RFC 9111)."""

import hashlib
import json
import re
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import Any

from starlette.responses import Response

from app.contract.schemas import ExplanationRecord, Status


def etag(*parts: Any) -> str:
    """Return a strong entity tag of what determines the bytes of a response, the version of rise-serve included."""
    text = json.dumps([_version(), *parts], sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


@cache
def _version() -> str:
    return version("rise-serve")


def etag_matches(tag: str, if_none_match: str | None) -> bool:
    """Return whether `If-None-Match` contains an entity tag, by weak comparison (RFC 9110 section 8.8.3.2)."""
    if if_none_match is None:
        return False
    return is_wildcard(if_none_match) or tag in re.findall(r'"[^"]*"', if_none_match)


def current_json(body: str, if_none_match: str | None) -> Response:
    """Return a JSON body that a client revalidates before each use; 304 without it where it has the same one."""
    headers = {"ETag": etag(body), "Cache-Control": "private, no-cache"}
    if etag_matches(headers["ETag"], if_none_match):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def is_wildcard(if_none_match: str | None) -> bool:
    """Return whether `If-None-Match` is `*`, which matches any existing representation."""
    return if_none_match is not None and if_none_match.strip() == "*"


def immutable_until_expiry(record: ExplanationRecord) -> str:
    """Return the `Cache-Control` of what does not change until the explanation expires."""
    seconds = max(0, int((record.expires_at - datetime.now(UTC)).total_seconds()))
    return f"private, max-age={seconds}, immutable"


def map_cache_control(record: ExplanationRecord) -> str:
    """Return the `Cache-Control` of a map: immutable if the explanation succeeded, else to be revalidated.

    A failed or cancelled explanation can be requested again under the same id, so its map is not final.
    """
    return immutable_until_expiry(record) if record.status is Status.SUCCEEDED else "private, no-cache"
