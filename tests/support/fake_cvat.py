"""A CVAT server as far as functions go: its calls, header by header, and what it makes of the answers.

Read from `cvat/apps/lambda_manager/views.py` of CVAT 2.40; annotations become what its SDK knows them as.
"""

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

import httpx2
import numpy as np
from cvat_sdk import models
from cvat_sdk.masks import decode_mask, encode_mask
from numpy.typing import NDArray

from tests.app.integrations.test_label_studio import share_on

__all__ = ["Cvat", "Shape", "share_on"]

_KINDS = {"detector", "interactor", "reid", "tracker"}
_LABEL_TYPES = {"rectangle", "mask", "tag"}


@dataclass(frozen=True)
class Shape:
    """An annotation of a detector.

    Attributes:
        label: in the function's words.
        confidence: as it was sent.
        annotation: as the SDK has it.
        attributes: values by name.
    """

    label: str
    confidence: float
    annotation: Any
    attributes: dict[str, str]

    def mask(self, width: int, height: int) -> NDArray[np.bool_]:
        """Return `[H, W]`, true inside, from the annotation."""
        return np.asarray(decode_mask(self.annotation.points, image_width=width, image_height=height))


@dataclass(frozen=True)
class Cvat:
    """Asks a service that it takes for a Nuclio.

    Attributes:
        http: client of the service.
        timeout: what the server says that it waits.
    """

    http: httpx2.Client
    timeout: str = "120s"

    def call(self, verb: str, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        own = {
            "User-Agent": "CVAT/2.40.0",
            "x-nuclio-project-name": "cvat",
            "x-nuclio-function-namespace": "nuclio",
            "x-nuclio-invoke-via": "domain-name",
            "X-Nuclio-Invoke-Timeout": self.timeout,
        }
        return self.http.request(verb, path, json=body, headers={**own, **headers})

    def functions(self) -> dict[str, dict[str, Any]]:
        """Return the functions by name, with their labels parsed as CVAT parses them."""
        answer = self.call("GET", "/api/functions")
        answer.raise_for_status()
        return {item["metadata"]["name"]: parsed(item) for item in answer.json().values()}

    def function(self, name: str) -> dict[str, Any]:
        answer = self.call("GET", f"/api/functions/{name}")
        answer.raise_for_status()
        return parsed(answer.json())

    def invoke(self, name: str, image: bytes, **more: Any) -> httpx2.Response:
        body = {**more, "image": base64.b64encode(image).decode()}
        headers = {"x-nuclio-function-name": name, "x-nuclio-path": "/"}
        return self.call("POST", "/api/function_invocations", body, **headers)

    def detect(self, name: str, image: bytes, **more: Any) -> list[Shape]:
        """Return what a detector sees, as CVAT stores it."""
        known = {label["name"]: label for label in self.function(name)["labels"]}
        answer = self.invoke(name, image, **more)
        answer.raise_for_status()
        return [stored(item, known[item["label"]]["type"]) for item in answer.json()]

    def interact(self, name: str, image: bytes, **more: Any) -> NDArray[np.bool_]:
        """Return the mask of an interactor."""
        answer = self.invoke(name, image, **{"pos_points": [], "neg_points": [], "obj_bbox": None, **more})
        answer.raise_for_status()
        return np.array(answer.json()["mask"], dtype=bool)


def parsed(item: dict[str, Any]) -> dict[str, Any]:
    """Return what CVAT makes of a function's description."""
    annotations = item["metadata"]["annotations"]
    name = item["metadata"]["name"]
    assert re.fullmatch(r"[a-zA-Z0-9_.-]+", name), "CVAT could not ask for it"
    assert annotations.get("type") in _KINDS
    labels = json.loads(annotations.get("spec") or "[]")
    assert len(labels) == len({label["name"] for label in labels})
    assert all(label["type"] in _LABEL_TYPES for label in labels)
    for label in labels:
        for attribute in label["attributes"]:
            models.AttributeRequest(mutable=False, **attribute)
    return {
        "kind": annotations["type"],
        "labels": labels,
        "state": item["status"]["state"],
        "description": item["spec"]["description"],
        "port": item["status"].get("httpPort"),
        "min_pos_points": int(annotations.get("min_pos_points", 1)),
        "startswith_box": bool(annotations.get("startswith_box", False)),
        "version": int(annotations.get("version", "1")),
    }


def stored(item: dict[str, Any], declared: str) -> Shape:
    """Return an item of a detector's answer as CVAT stores it."""
    kind = item["type"].lower()
    assert kind == declared
    attributes = {attribute["name"]: attribute["value"] for attribute in item.get("attributes", [])}
    annotation: Any
    if kind == "tag":
        annotation = models.LabeledImageRequest(label_id=1, frame=0, source="auto")
    else:
        points = _runs(item["mask"]) if kind == "mask" else item["points"]
        annotation = models.LabeledShapeRequest(label_id=1, frame=0, source="auto", type=kind, points=points)
    return Shape(item["label"], float(item["confidence"]), annotation, attributes)


def _runs(mask: list[int]) -> list[float]:
    """Return a mask as CVAT stores it, and check that its box is the smallest one."""
    *cells, left, top, right, bottom = mask
    assert set(cells) <= {0, 1}
    bitmap = np.zeros((bottom + 1, right + 1), dtype=bool)
    bitmap[top:, left:] = np.array(cells, dtype=bool).reshape(bottom - top + 1, right - left + 1)
    runs: list[float] = encode_mask(bitmap)
    assert runs[-4:] == [left, top, right, bottom]
    return runs
