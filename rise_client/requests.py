"""What the client asks for, without sending it: one function per request."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import quote

import httpx2

from rise_client.images import ImageInput, encode_image

Target = int | str | dict[str, Any]
"""A class by index or name, or `{"box": [x0, y0, x1, y1], "label": ...}`."""

LONG_POLL_SECONDS = 30.0
"""How long the service is asked to hold a request."""


@dataclass(frozen=True)
class ApiRequest:
    """One request, which does the same however often it is carried out.

    Attributes:
        options: what `httpx2` is told of it.
    """

    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)

    def is_done_by(self, response: httpx2.Response) -> bool:
        """Return whether an answer to a second try says that the first one worked: what is to be deleted is gone."""
        return self.method == "DELETE" and response.status_code in {404, 410}


def create_request(image: ImageInput, targets: str | Target | Sequence[Target] | None, **fields: Any) -> ApiRequest:
    """Return the request for an explanation."""
    files = {"image": encode_image(image)}
    return ApiRequest("POST", "/v1/explanations", {"files": files, "data": _form({**fields, "targets": targets})})


def batch_request(
    archive: IO[bytes], *, annotations: bytes | None = None, key: str | None = None, **fields: Any
) -> ApiRequest:
    """Return the request for a batch: a zip archive, and what is asked about each image in it.

    Args:
        archive: of images.
        annotations: a COCO file of the objects in them.
        key: makes it one batch, however often it is sent; None: a new one.
        fields: of the question.
    """
    files: dict[str, Any] = {"archive": ("images.zip", archive, "application/zip")}
    if annotations is not None:
        files["annotations"] = ("annotations.json", annotations, "application/json")
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    options = {"files": files, "data": _form(fields), "headers": headers, "timeout": None}
    return ApiRequest("POST", "/v1/batches", options)


def predict_request(image: ImageInput, model: str, limit: int) -> ApiRequest:
    """Return the request for what a model sees in an image."""
    options = {"files": {"image": encode_image(image)}, "params": {"limit": limit}}
    return ApiRequest("POST", f"/v1/models/{quote(model, safe='')}/predict", options)


def get_request(explanation_id: str, *, wait_seconds: float | None = None) -> ApiRequest:
    """Return the request for an explanation; with `wait_seconds` it is answered when that has ended, or then."""
    path = explanation_path(explanation_id)
    if wait_seconds is None:
        return ApiRequest("GET", path)
    return ApiRequest("GET", path, {"params": {"wait": wait_seconds}, "timeout": wait_seconds + LONG_POLL_SECONDS})


def audit_request(explanation_id: str, *, wait_seconds: float) -> ApiRequest:
    """Return the request for an audit, the same each time; it is answered when that has ended, or after so long."""
    options = {"headers": {"Prefer": f"wait={int(wait_seconds)}"}, "timeout": wait_seconds + LONG_POLL_SECONDS}
    return ApiRequest("POST", f"{explanation_path(explanation_id)}/audit", options)


def map_request(explanation_id: str, target: int | str, **which: Any) -> ApiRequest:
    """Return the request for the arrays of a map: of a target by its index, or of any class by its name.

    Args:
        explanation_id: whose.
        target: index or name.
        which: `fill`, `opacity` or `method` of a map that its audit has made.
    """
    name = str(target) if isinstance(target, int) else f"label/{quote(target, safe='')}"
    return ApiRequest("GET", f"{explanation_path(explanation_id)}/maps/{name}.npz", {"params": which})


def overlay_request(explanation_id: str, index: int, **style: Any) -> ApiRequest:
    """Return the request for the image with a map over it."""
    return ApiRequest("GET", f"{explanation_path(explanation_id)}/maps/{index}.overlay.png", {"params": style})


def region_request(explanation_id: str, index: int, level: float) -> ApiRequest:
    """Return the request for the smallest region that holds a share of the positive saliency, as a PNG."""
    path = f"{explanation_path(explanation_id)}/maps/{index}.mask.png"
    return ApiRequest("GET", path, {"params": {"level": level}})


def events_request(explanation_id: str, after: str | None) -> ApiRequest:
    """Return the request for the events of an explanation, from the one after `after` on."""
    named = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    named |= {} if after is None else {"Last-Event-ID": after}
    options = {"headers": named, "timeout": LONG_POLL_SECONDS}
    return ApiRequest("GET", f"{explanation_path(explanation_id)}/events", options)


def path_of(link: str) -> str:
    """Return the path of a link below the client's own address, whose path the link may hold too."""
    return link[link.index("/v1/") :]


def explanation_path(explanation_id: str) -> str:
    """Return the address of an explanation."""
    return f"/v1/explanations/{quote(explanation_id, safe='')}"


def _form(fields: dict[str, Any]) -> dict[str, str]:
    """Return the fields of a form, without those that are None."""
    given = {**fields, "targets": _targets(fields.get("targets"))}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    return {name: text for name, text in texts.items() if given[name] is not None}


def _targets(targets: str | Target | Sequence[Target] | None) -> Any:
    if targets is None or (isinstance(targets, str) and targets.startswith("top:")):
        return targets
    several = [targets] if isinstance(targets, int | str | dict) else targets
    return [target if isinstance(target, dict) else {"label": target} for target in several]
