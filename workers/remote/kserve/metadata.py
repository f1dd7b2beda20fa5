"""Metadata of a model (Open Inference Protocol v2), read when it is loaded, and the input that follows from it."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from workers.blackbox import Preprocessing
from workers.remote.http.client import (
    HttpRequest,
    ModelServerClient,
    check_address,
    redacted_url,
    server_context,
    validated,
)
from workers.remote.http.options import Datatype, InferenceOptions, Layout
from workers.remote.kserve.tensor_codec import check_encodable

_BINARY_EXTENSION = "binary_tensor_data"
_SOURCE = re.compile(r"(?P<server>.+/v2)/models/[^/?#]+(/versions/[^/?#]+)?/?")
_MAX_BATCH = 32
_MAX_VALUES = {True: 16_000_000, False: 1_000_000}  # in one request; JSON is ten times as long and as slow
_ASSUMED_SIDE = 224  # of images whose size is not known, to estimate their number of values

Body = TypeVar("Body", bound=BaseModel)


class TensorSpec(BaseModel):
    """An input or output; sides that are free are -1."""

    name: str
    datatype: str
    shape: list[int]


class _Server(BaseModel):
    extensions: list[str] = []


class _Model(BaseModel):
    name: str
    versions: list[str] | None = None
    platform: str | None = None
    inputs: list[TensorSpec] | None = None


@dataclass(frozen=True)
class ServerMetadata:
    """What is known of a model before the first inference.

    Attributes:
        address: of the model, `http://host:port/v2/models/NAME`.
        name: as the server calls it.
        versions: that it serves.
        platform: what runs it; empty where the server does not say it.
        inputs: none where the server does not say them.
        binary: whether the server lists the extension for binary tensors.
    """

    address: str
    name: str = ""
    versions: tuple[str, ...] = ()
    platform: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    binary: bool = False

    @property
    def identity(self) -> str:
        """What of all this can change a map."""
        return json.dumps([redacted_url(self.address), self.name, self.versions, self.platform])


def read_metadata(http: ModelServerClient, source: str) -> ServerMetadata:
    """Return the metadata of a model and its server.

    Args:
        http: to the server.
        source: `http://host:port/v2/models/NAME`, or that with `/versions/V` behind it.

    Raises:
        ValueError: if the source is no such address.
        BlackBoxError: if the server does not answer, or something else than metadata.
    """
    check_address(source)
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise ValueError(f"source = {redacted_url(source)!r}: write it as http://host:port/v2/models/NAME")
    address = source.rstrip("/")
    model = _get(http, address, _Model)
    server = _get(http, match["server"], _Server)
    return ServerMetadata(
        address,
        model.name,
        tuple(model.versions or ()),
        model.platform or "",
        tuple(model.inputs or ()),
        _BINARY_EXTENSION in server.extensions,
    )


def _get(http: ModelServerClient, url: str, kind: type[Body]) -> Body:
    response = http.send(HttpRequest(url))
    with server_context(url):
        return validated(kind, response.content)


@dataclass(frozen=True)
class InputSpec:
    """The input that a server takes.

    Attributes:
        name: of the input.
        datatype: of its values.
        layout: order of its axes.
        size: height and width; None where they are free.
        channels: 3, or 1 for grey images.
        batch: images in one request.
        full: whether every request must hold exactly so many.
        binary: whether tensors are sent as bytes.
    """

    name: str
    datatype: Datatype
    layout: Layout
    size: tuple[int, int] | None
    channels: int
    batch: int
    full: bool
    binary: bool

    def preprocessing(self) -> Preprocessing:
        """Return what the input says about preprocessing: integers take 0..255, floats 0..1."""
        std = (1.0,) if "F" in self.datatype else (1 / 255,)
        return Preprocessing(size=self.size, std=std, channels="grey" if self.channels == 1 else "rgb")

    def to_layout(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return images `[B, C, H, W]` in the layout of the input, padded to a full batch where it must be one."""
        if self.full and len(images) < self.batch:
            padding = np.repeat(images[-1:], self.batch - len(images), axis=0)
            images = np.concatenate([images, padding])
        if self.layout.endswith("HWC"):
            images = images.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images if self.layout.startswith("N") else images[0])


def input_spec_of(metadata: ServerMetadata, options: InferenceOptions) -> InputSpec:
    """Return the input of a model: as its metadata says, overruled by the options.

    Raises:
        ValueError: if that is no input for images.
    """
    tensor = _tensor(metadata.inputs, options.input)
    layout = options.layout or _layout(tensor)
    sides = _sides(tensor, layout)
    binary = metadata.binary if options.binary is None else options.binary
    datatype = _datatype(tensor, options.datatype)
    check_encodable(datatype, binary=binary)
    height, width = sides["H"], sides["W"]
    wanted = options.batch if "N" in layout else 1
    fixed = sides.get("N", 1) if sides.get("N", 1) > 0 else None
    values = max(1, sides["C"]) * (height if height > 0 else _ASSUMED_SIDE) * (width if width > 0 else _ASSUMED_SIDE)
    return InputSpec(
        name=tensor.name,
        datatype=datatype,
        layout=layout,
        size=(height, width) if height > 0 and width > 0 else None,
        channels=1 if sides["C"] == 1 else 3,
        batch=wanted or fixed or max(1, min(_MAX_BATCH, _MAX_VALUES[binary] // values)),
        full=fixed is not None and wanted is None,
        binary=binary,
    )


def _tensor(inputs: Sequence[TensorSpec], name: str | None) -> TensorSpec:
    if name is None and len(inputs) == 1:
        return inputs[0]
    for tensor in inputs:
        if tensor.name == name:
            return tensor
    if inputs:
        names = ", ".join(tensor.name for tensor in inputs)
        raise ValueError(f"options.input = {name!r}: the model takes {names}; name one")
    if name is None:
        raise ValueError("options.input: the server does not name the model's inputs; give the name of the one")
    return TensorSpec(name=name, datatype="FP32", shape=[])


def _layout(tensor: TensorSpec) -> Layout:
    """Return the layout that a shape implies: the side of 1 or 3 is that of the channels."""
    if not tensor.shape:
        return "NCHW"
    first: tuple[Layout, Layout] = ("NCHW", "NHWC") if len(tensor.shape) == 4 else ("CHW", "HWC")
    if len(tensor.shape) not in {3, 4}:
        words = "pictures have four sides, or three where a request holds one picture; options.layout overrules it"
        raise ValueError(f"input {tensor.name!r} has shape {tensor.shape}: {words}")
    if tensor.shape[-3] in {1, 3}:
        return first[0]
    if tensor.shape[-1] in {1, 3}:
        return first[1]
    raise ValueError(f"options.layout: the shape {tensor.shape} of input {tensor.name!r} does not tell it")


def _sides(tensor: TensorSpec, layout: Layout) -> dict[str, int]:
    """Return the sides by the letters of the layout, -1 where they are free or the shape has another rank."""
    shape = tensor.shape if len(tensor.shape) == len(layout) else [-1] * len(layout)
    sides = dict(zip(layout, shape, strict=True))
    if sides["C"] not in {-1, 1, 3}:
        raise ValueError(f"input {tensor.name!r} has shape {tensor.shape}: {sides['C']} channels, {layout}")
    return sides


def _datatype(tensor: TensorSpec, wanted: Datatype | None) -> Datatype:
    if wanted is not None:
        return wanted
    if tensor.datatype in get_args(Datatype):
        return cast(Datatype, tensor.datatype)
    raise ValueError(f"input {tensor.name!r} is {tensor.datatype}; rise-serve sends {', '.join(get_args(Datatype))}")
