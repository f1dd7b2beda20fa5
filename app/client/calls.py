"""What the client asks for, without sending it: one function per request, shared by both clients."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""An image: a path, encoded bytes, a Pillow image, or pixels `[H, W, 3]` or `[H, W]`, 0..255."""

Target = int | str | dict[str, Any]
"""A class by index or name, or `{"box": [x0, y0, x1, y1], "label": ...}`."""

HELD_SECONDS = 30.0
"""How long the service is asked to hold a request."""


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        options: what `httpx2` is told of it.
        repeatable: whether it may be carried out twice; an explanation may, because it is named by what was asked.
    """

    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)
    repeatable: bool = True

    def is_done_by(self, response: httpx2.Response) -> bool:
        """Return whether an answer to a second try says that the first one worked: what is to be deleted is gone."""
        return self.method == "DELETE" and response.status_code in {404, 410}


def headers(key: str | None) -> dict[str, str]:
    """Return the headers of every request."""
    named = {"User-Agent": f"rise-serve/{version('rise-serve')}"}
    return named if key is None else {**named, "Authorization": f"Bearer {key}"}


def creation(image: Picture, targets: str | Target | Sequence[Target] | None, fields: dict[str, Any]) -> Call:
    """Return the request for an explanation."""
    given = {**fields, "targets": _targets(targets)}
    form = {name: _form_value(value) for name, value in given.items() if value is not None}
    return Call("POST", "/v1/explanations", {"files": {"image": _encoded(image)}, "data": form})


def batch(archive: IO[bytes], fields: dict[str, Any]) -> Call:
    """Return the request for a batch: a zip archive, and what is asked about each image in it.

    Carried out twice it makes two batches, of which the client would know one.
    """
    given = {**fields, "targets": _targets(fields.get("targets"))}
    form = {name: _form_value(value) for name, value in given.items() if value is not None}
    file = ("images.zip", archive, "application/zip")
    options = {"files": {"archive": file}, "data": form, "timeout": None}
    return Call("POST", "/v1/batches", options, repeatable=False)


def prediction(image: Picture, model: str, limit: int) -> Call:
    """Return the request for what a model sees in an image."""
    options = {"files": {"image": _encoded(image)}, "params": {"limit": limit}}
    return Call("POST", f"/v1/models/{quote(model, safe='')}/predict", options)


def reading(explanation_id: str, *, held: float | None = None) -> Call:
    """Return the request for an explanation; one that is held, for so many seconds, is answered when it has ended."""
    if held is None:
        return Call("GET", here(explanation_id))
    return Call("GET", here(explanation_id), {"params": {"wait": held}, "timeout": held + HELD_SECONDS})


def map_archive(explanation_id: str, target: int | str) -> Call:
    """Return the request for the arrays of a map: of a target by its index, or of any class by its name."""
    name = str(target) if isinstance(target, int) else f"label/{quote(target, safe='')}"
    return Call("GET", f"{here(explanation_id)}/maps/{name}.npz")


def following(explanation_id: str, after: str | None) -> Call:
    """Return the request for the events of an explanation, from the one after `after` on."""
    named = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    named |= {} if after is None else {"Last-Event-ID": after}
    return Call("GET", f"{here(explanation_id)}/events", {"headers": named, "timeout": HELD_SECONDS})


def overlay(explanation_id: str, index: int, style: dict[str, Any]) -> Call:
    """Return the request for an overlay."""
    return Call("GET", f"{here(explanation_id)}/maps/{index}.overlay.png", {"params": style})


def region(explanation_id: str, index: int, level: float) -> Call:
    """Return the request for the smallest region that holds a share of the positive saliency, as a PNG."""
    return Call("GET", f"{here(explanation_id)}/maps/{index}.mask.png", {"params": {"level": level}})


def here(explanation_id: str) -> str:
    """Return the address of an explanation."""
    return f"/v1/explanations/{quote(explanation_id, safe='')}"


def _targets(targets: str | Target | Sequence[Target] | None) -> Any:
    if targets is None or (isinstance(targets, str) and targets.startswith("top:")):
        return targets
    several = [targets] if isinstance(targets, int | str | dict) else targets
    return [target if isinstance(target, dict) else {"label": target} for target in several]


def _form_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _encoded(image: Picture) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        return Path(image).read_bytes()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
