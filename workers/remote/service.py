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
from workers.remote.answers import validated
from workers.remote.connection import Connection, Question
from workers.remote.failure import at_server
from workers.remote.options import PictureKind, RequestForm
from workers.remote.pictures import MEDIA_TYPES, encoded

_NEARLY = 1e-3


class Corners(BaseModel):
    """A box in pixels of the picture."""

    xmin: float
    ymin: float
    xmax: float
    ymax: float


class Seen(BaseModel):
    """One thing that a service sees."""

    label: str
    score: float
    box: Corners | None = None


class _Answer(RootModel[list[Seen]]):
    """All that it sees in a picture."""


@dataclass(frozen=True)
class Service:
    """How one service is asked.

    Attributes:
        connection: to its server.
        url: of the service.
        form: `json` sends `{"inputs": base64, "parameters": {...}}`, `bytes` the file itself.
        kind: of the file.
        parameters: what is asked for beside the picture; only `json` can carry them.
    """

    connection: Connection
    url: str
    form: RequestForm
    kind: PictureKind
    parameters: JsonObject

    def look(self, images: Tensor) -> list[list[Seen]]:
        """Return what the service sees in each of some pictures `[B, 3, H, W]` in 0..1.

        Raises:
            BlackBoxError: naming the service and what was wrong.
        """
        return self.connection.together(self._look_at, list(images.float().cpu().numpy()))

    def _look_at(self, picture: NDArray[np.float32], abandoned: Event) -> list[Seen]:
        answer = self.connection.ask(self._question(encoded(picture, self.kind)), abandoned)
        with at_server(self.url):
            seen = validated(_Answer, answer.content).root
            _check(seen)
        return seen

    def _question(self, file: bytes) -> Question:
        headers = {"accept": "application/json", "content-type": MEDIA_TYPES[self.kind]}
        if self.form == "bytes":
            return Question(self.url, file, headers)
        body = orjson.dumps({"inputs": base64.b64encode(file).decode(), "parameters": self.parameters})
        return Question(self.url, body, {**headers, "content-type": "application/json"})


def _check(seen: Sequence[Seen]) -> None:
    for one in seen:
        corners = [] if one.box is None else list(one.box.model_dump().values())
        if not all(math.isfinite(value) for value in (one.score, *corners)):
            raise ValueError(f"gave NaN or infinity for {one.label!r}")
        if not -_NEARLY <= one.score <= 1 + _NEARLY:
            raise ValueError(f"gave {one.label!r} the score {one.score:g}, which is no probability")
