"""Services that take an image and return `[{"label", "score", "box"}]`: the format of Hugging Face's tasks."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
import orjson
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, RootModel
from torch import Tensor

from app.contract.schemas import JsonObject
from workers.remote.http.client import HttpRequest, ModelServerClient, server_context, validated
from workers.remote.http.options import PictureKind, RequestForm

_NEARLY = 1e-3
_MEDIA_TYPES: dict[PictureKind, str] = {"png": "image/png", "jpeg": "image/jpeg"}


class Corners(BaseModel):
    """A box in pixels of the image."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class LabeledPrediction(BaseModel):
    """One label with its score."""

    label: str
    score: float
    box: Corners | None = None


class _ResponseBody(RootModel[list[LabeledPrediction]]):
    """The predictions for an image."""


@dataclass(frozen=True)
class HfLabelsClient:
    """Client of one service.

    Attributes:
        http: to its server.
        url: of the service.
        form: `json` sends `{"inputs": base64, "parameters": {...}}`, `bytes` the file itself.
        kind: of the file.
        parameters: sent with the image; only `json` can carry them.
    """

    http: ModelServerClient
    url: str
    form: RequestForm
    kind: PictureKind
    parameters: JsonObject

    def predict(self, images: Tensor) -> list[list[LabeledPrediction]]:
        """Return the predictions for each of some images `[B, 3, H, W]` in 0..1.

        Raises:
            BlackBoxError: naming the service and what was wrong.
        """
        return self.http.map_concurrent(self._predict_image, list(images.float().cpu().numpy()))

    def _predict_image(self, image: NDArray[np.float32], cancelled: Event) -> list[LabeledPrediction]:
        response = self.http.send(self._request(_encode(image, self.kind)), cancelled)
        with server_context(self.url):
            predictions = validated(_ResponseBody, response.content).root
            _check(predictions)
        return predictions

    def _request(self, file: bytes) -> HttpRequest:
        headers = {"accept": "application/json", "content-type": _MEDIA_TYPES[self.kind]}
        if self.form == "bytes":
            return HttpRequest(self.url, file, headers)
        body = orjson.dumps({"inputs": base64.b64encode(file).decode(), "parameters": self.parameters})
        return HttpRequest(self.url, body, {**headers, "content-type": "application/json"})


def _encode(image: NDArray[np.float32], kind: PictureKind) -> bytes:
    """Return an image `[3, H, W]` in 0..1 as a file; PNG is exact up to 256 levels."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    if kind == "png":
        picture.save(file, "PNG", compress_level=1)  # because time counts more than size on a near network
    else:
        picture.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _check(predictions: Sequence[LabeledPrediction]) -> None:
    for one in predictions:
        corners = [] if one.box is None else list(one.box.model_dump().values())
        if not all(math.isfinite(value) for value in (one.score, *corners)):
            raise ValueError(f"gave NaN or infinity for {one.label!r}")
        if not -_NEARLY <= one.score <= 1 + _NEARLY:
            raise ValueError(f"gave {one.label!r} the score {one.score:g}, which is no probability")
