"""A model behind the Open Inference Protocol v2 as a function: pictures in, its outputs by name out."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.remote.http.client import HttpRequest, ModelServerClient
from workers.remote.http.errors import server_context
from workers.remote.kserve.input_spec import InputSpec
from workers.remote.kserve.metadata import ServerMetadata
from workers.remote.kserve.tensor_codec import Outputs, decode, encode


@dataclass(frozen=True)
class BatchSlice:
    """The outputs of some of the pictures.

    Attributes:
        pictures: how many were asked about.
        rows: how many were sent: more, where a request must be full.
        size: height and width of the pictures.
        outputs: by name, as the server gave them.
        version: of the model that answered; None where the server does not say it.
    """

    pictures: int
    rows: int
    size: tuple[int, int]
    outputs: Mapping[str, Tensor]
    version: str | None


def batch_slices(images: Tensor, told: InputSpec) -> list[NDArray[np.float32]]:
    """Return pictures in as many parts as requests are needed for them."""
    pictures = images.float().cpu().numpy()
    return [pictures[start : start + told.batch] for start in range(0, len(pictures), told.batch)]


@dataclass(frozen=True)
class KServeV2Client:
    """Asks one model of a server.

    Attributes:
        connection: to the server.
        metadata: what it says about the model.
        input: what it takes.
        version: of the model that must answer; None takes any.
    """

    connection: ModelServerClient
    metadata: ServerMetadata
    input: InputSpec
    version: str | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """Where pictures are sent to."""
        return f"{self.metadata.address}/infer"

    def ask(self, images: Tensor) -> list[BatchSlice]:
        """Return the outputs of normalised pictures `[B, C, H, W]`, a part for each request.

        Raises:
            BlackBoxError: at_server the server and what was wrong.
        """
        return self.connection.together(self._ask_for, batch_slices(images, self.input))

    def _ask_for(self, pictures: NDArray[np.float32], abandoned: Event) -> BatchSlice:
        number, told = str(next(self._numbers)), self.input
        values = told.arranged(pictures)
        message = encode(told.name, values, told.datatype, binary=told.binary, number=number)
        answer = self.connection.ask(HttpRequest(self.url, message.content, message.headers), abandoned)
        with server_context(self.url):
            outputs = decode(answer)
            self._check(outputs)
        rows = told.batch if told.full else len(pictures)
        height, width = pictures.shape[2:]
        return BatchSlice(len(pictures), rows, (height, width), self._in_rows(outputs), outputs.version)

    def _check(self, outputs: Outputs) -> None:
        if self.version is not None and outputs.version != self.version:
            words = f"it was {self.version!r} when it was loaded; load it again"
            raise ValueError(f"answers with version {outputs.version!r} of the model; {words}")

    def _in_rows(self, outputs: Outputs) -> dict[str, Tensor]:
        batched = "N" in self.input.layout
        return {name: torch.from_numpy(array if batched else array[None]) for name, array in outputs.tensors.items()}
