"""Services that take a picture and name what they see in it: `[{"label", "score", "box"}]`, the Hugging Face format."""

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, RootModel
from torch import Tensor

from app.contract.schemas import JsonObject
from workers.remote.hf_labels.image_codec import MEDIA_TYPES, encoded
from workers.remote.http.client import HttpRequest, ModelServerClient
from workers.remote.http.errors import server_context
from workers.remote.http.options import PictureKind, RequestForm
from workers.remote.http.response import validated

_NEARLY = 1e-3


class Corners(BaseModel):
    """A box in pixels of the picture."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class LabeledPrediction(BaseModel):
    """One thing that a service sees."""

    label: str
    score: float
    box: Corners | None = None


class _Answer(RootModel[list[LabeledPrediction]]):
    """All that it sees in a picture."""


@dataclass(frozen=True)
class HfLabelsClient:
    """How one service is asked.

    Attributes:
        connection: to its server.
        url: of the service.
        form: `json` sends `{"inputs": base64, "parameters": {...}}`, `bytes` the file itself.
        kind: of the file.
        parameters: what is asked for beside the picture; only `json` can carry them.
    """

    connection: ModelServerClient
    url: str
    form: RequestForm
    kind: PictureKind
    parameters: JsonObject

    def look(self, images: Tensor) -> list[list[LabeledPrediction]]:
        """Return what the service sees in each of some pictures `[B, 3, H, W]` in 0..1.

        Raises:
            BlackBoxError: naming the service and what was wrong.
        """
        return self.connection.together(self._look_at, list(images.float().cpu().numpy()))

    def _look_at(self, picture: NDArray[np.float32], abandoned: Event) -> list[LabeledPrediction]:
        answer = self.connection.ask(self._question(encoded(picture, self.kind)), abandoned)
        with server_context(self.url):
            seen = validated(_Answer, answer.content).root
            _check(seen)
        return seen

    def _question(self, file: bytes) -> HttpRequest:
        headers = {"accept": "application/json", "content-type": MEDIA_TYPES[self.kind]}
        if self.form == "bytes":
            return HttpRequest(self.url, file, headers)
        body = orjson.dumps({"inputs": base64.b64encode(file).decode(), "parameters": self.parameters})
        return HttpRequest(self.url, body, {**headers, "content-type": "application/json"})


def _check(seen: Sequence[LabeledPrediction]) -> None:
    for one in seen:
        corners = [] if one.box is None else list(one.box.model_dump().values())
        if not all(math.isfinite(value) for value in (one.score, *corners)):
            raise ValueError(f"gave NaN or infinity for {one.label!r}")
        if not -_NEARLY <= one.score <= 1 + _NEARLY:
            raise ValueError(f"gave {one.label!r} the score {one.score:g}, which is no probability")
