"""Inference by the Open Inference Protocol v2: images in, outputs by name out."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.remote.http.client import HttpRequest, ModelServerClient, server_context
from workers.remote.kserve.metadata import InputSpec, ServerMetadata
from workers.remote.kserve.tensor_codec import DecodedResponse, decode, encode


@dataclass(frozen=True)
class BatchSlice:
    """The outputs for the images of one request.

    Attributes:
        images: how many images it was about.
        rows: how many were sent: more, where a batch must be full.
        size: height and width of the images.
        outputs: by name, as the server gave them.
        version: of the model that answered; None where the server does not say it.
    """

    images: int
    rows: int
    size: tuple[int, int]
    outputs: Mapping[str, Tensor]
    version: str | None


def batch_slices(images: Tensor, spec: InputSpec) -> list[NDArray[np.float32]]:
    """Return images `[B, C, H, W]` in as many slices as there are requests needed for them."""
    values = images.float().cpu().numpy()
    return [values[start : start + spec.batch] for start in range(0, len(values), spec.batch)]


@dataclass(frozen=True)
class KServeV2Client:
    """Client of one model of a server.

    Attributes:
        http: to the server.
        metadata: of the model.
        input: what the model takes.
        version: of the model that must answer; None takes any.
    """

    http: ModelServerClient
    metadata: ServerMetadata
    input: InputSpec
    version: str | None = None
    _ids: Iterator[int] = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """Where images are sent to."""
        return f"{self.metadata.address}/infer"

    def infer(self, images: Tensor) -> list[BatchSlice]:
        """Return the outputs for normalised images `[B, C, H, W]`, a slice for each request.

        Raises:
            BlackBoxError: naming the server and what was wrong.
        """
        return self.http.map_concurrent(self._infer_slice, batch_slices(images, self.input))

    def _infer_slice(self, images: NDArray[np.float32], cancelled: Event) -> BatchSlice:
        spec = self.input
        body = encode(
            spec.name, spec.to_layout(images), spec.datatype, binary=spec.binary, request_id=str(next(self._ids))
        )
        response = self.http.send(HttpRequest(self.url, body.content, body.headers), cancelled)
        with server_context(self.url):
            decoded = decode(response)
            self._check_version(decoded)
        rows = spec.batch if spec.full else len(images)
        height, width = images.shape[2:]
        return BatchSlice(len(images), rows, (height, width), self._batched(decoded), decoded.version)

    def _check_version(self, decoded: DecodedResponse) -> None:
        if self.version is not None and decoded.version != self.version:
            words = f"it was {self.version!r} when it was loaded; load it again"
            raise ValueError(f"answers with version {decoded.version!r} of the model; {words}")

    def _batched(self, decoded: DecodedResponse) -> dict[str, Tensor]:
        batched = "N" in self.input.layout
        return {name: torch.from_numpy(array if batched else array[None]) for name, array in decoded.tensors.items()}
