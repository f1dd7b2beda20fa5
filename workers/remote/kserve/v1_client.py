"""Inference by KServe's protocol v1, which is TensorFlow Serving's: `{"instances"}` in, `{"predictions"}` out.

There is no metadata, and all values are sent as numbers in JSON.
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

from workers.remote.http.client import HttpRequest, ModelServerClient, server_context, validated
from workers.remote.kserve.metadata import InputSpec
from workers.remote.kserve.tensor_codec import check_numbers, in_datatype
from workers.remote.kserve.v2_client import BatchSlice, batch_slices

_ONE_OUTPUT = "predictions"


class _ResponseBody(BaseModel):
    """A row for each image: its scores, or an object with outputs by name."""

    predictions: list[Any]


@dataclass(frozen=True)
class KServeV1Client:
    """Client of one model of a server.

    Attributes:
        http: to the server.
        address: of the model, `http://host:port/v1/models/NAME`.
        input: what it takes.
    """

    http: ModelServerClient
    address: str
    input: InputSpec

    @property
    def url(self) -> str:
        """Where images are sent to."""
        return f"{self.address}:predict"

    def infer(self, images: Tensor) -> list[BatchSlice]:
        """Return the outputs for normalised images `[B, C, H, W]`, a slice for each request.

        Raises:
            BlackBoxError: naming the server and what was wrong.
        """
        return self.http.map_concurrent(self._infer_slice, batch_slices(images, self.input))

    def _infer_slice(self, images: NDArray[np.float32], cancelled: Event) -> BatchSlice:
        values = in_datatype(self.input.to_layout(images), self.input.datatype)
        instances = np.ascontiguousarray(values if "N" in self.input.layout else values[None])
        body = orjson.dumps({"instances": instances}, option=orjson.OPT_SERIALIZE_NUMPY)
        response = self.http.send(HttpRequest(self.url, body, {"content-type": "application/json"}), cancelled)
        with server_context(self.url):
            outputs = _outputs(validated(_ResponseBody, response.content).predictions, len(instances))
        return BatchSlice(len(images), len(instances), (images.shape[2], images.shape[3]), outputs, None)


def _outputs(rows: Sequence[Any], count: int) -> dict[str, Tensor]:
    """Return the rows of a response as outputs by name, `[B, ...]`."""
    if len(rows) != count:
        raise ValueError(f"gave {len(rows)} predictions for {count} pictures")
    if not isinstance(rows[0], dict):
        return {_ONE_OUTPUT: _stack(_ONE_OUTPUT, rows)}
    if any(not isinstance(row, dict) or row.keys() != rows[0].keys() for row in rows):
        raise ValueError("gave predictions with other names from one picture to the next")
    return {name: _stack(name, [row[name] for row in rows]) for name in rows[0]}


def _stack(name: str, rows: Sequence[Any]) -> Tensor:
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
