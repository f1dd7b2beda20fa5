"""A model behind KServe's protocol v1, which is TensorFlow Serving's: `{"instances"}` in, `{"predictions"}` out.

The server says nothing about a model, and everything travels as numbers in JSON.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor

from workers.remote.http.client import HttpRequest, ModelServerClient
from workers.remote.http.errors import server_context
from workers.remote.http.response import validated
from workers.remote.kserve.input_spec import InputSpec
from workers.remote.kserve.tensor_codec import check_numbers, in_datatype
from workers.remote.kserve.v2_client import BatchSlice, batch_slices

_ONE_OUTPUT = "predictions"


class _Answer(BaseModel):
    """A row for each picture: its scores, or an object with outputs by name."""

    predictions: list[Any]


@dataclass(frozen=True)
class KServeV1Client:
    """Asks one model of a server.

    Attributes:
        connection: to the server.
        address: of the model, `http://host:port/v1/models/NAME`.
        input: what it takes.
    """

    connection: ModelServerClient
    address: str
    input: InputSpec

    @property
    def url(self) -> str:
        """Where pictures are sent to."""
        return f"{self.address}:predict"

    def ask(self, images: Tensor) -> list[BatchSlice]:
        """Return the outputs of normalised pictures `[B, C, H, W]`, a part for each request.

        Raises:
            BlackBoxError: naming the server and what was wrong.
        """
        return self.connection.together(self._ask_for, batch_slices(images, self.input))

    def _ask_for(self, pictures: NDArray[np.float32], abandoned: Event) -> BatchSlice:
        values = in_datatype(self.input.arranged(pictures), self.input.datatype)
        instances = np.ascontiguousarray(values if "N" in self.input.layout else values[None])
        body = orjson.dumps({"instances": instances}, option=orjson.OPT_SERIALIZE_NUMPY)
        answer = self.connection.ask(HttpRequest(self.url, body, {"content-type": "application/json"}), abandoned)
        with server_context(self.url):
            outputs = _outputs(validated(_Answer, answer.content).predictions, len(instances))
        return BatchSlice(len(pictures), len(instances), (pictures.shape[2], pictures.shape[3]), outputs, None)


def _outputs(rows: Sequence[Any], count: int) -> dict[str, Tensor]:
    """Return the rows of an answer as outputs by name, `[B, ...]`."""
    if len(rows) != count:
        raise ValueError(f"gave {len(rows)} predictions for {count} pictures")
    if not isinstance(rows[0], dict):
        return {_ONE_OUTPUT: _stacked(_ONE_OUTPUT, rows)}
    if any(not isinstance(row, dict) or row.keys() != rows[0].keys() for row in rows):
        raise ValueError("gave predictions with other names from one picture to the next")
    return {name: _stacked(name, [row[name] for row in rows]) for name in rows[0]}


def _stacked(name: str, rows: Sequence[Any]) -> Tensor:
    if any(not isinstance(row, list) for row in rows):
        raise ValueError(
            f"gave {name!r} as {rows[0]!r:.40} for a picture, a label perhaps; the scores of all classes are needed"
        )
    try:
        array = np.array(rows, dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as cause:
        words = f"gave {name!r} that is no table of numbers ({cause})"
        raise ValueError(f"{words}; options.batch = 1 where pictures have different numbers of them") from cause
    check_numbers(name, array)
    return torch.from_numpy(array)
