"""What a model's server takes: name, type and layout of its input, and how many pictures in one request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from workers.blackbox import Preprocessing
from workers.remote.http.options import Datatype, InferenceOptions, Layout
from workers.remote.kserve.metadata import ServerMetadata, TensorSpec
from workers.remote.kserve.tensor_codec import check_encodable

_MOST_PICTURES = 32
_MOST_NUMBERS = {True: 16_000_000, False: 1_000_000}  # in one request; JSON is ten times as long and as slow
_SIDE = 224  # of pictures whose size is not known, to guess how many numbers they are


@dataclass(frozen=True)
class InputSpec:
    """What a server takes.

    Attributes:
        name: of the input.
        datatype: of its numbers.
        layout: order of its sides.
        size: height and width; None where they are free.
        channels: 3, or 1 for grey pictures.
        batch: pictures in one request.
        full: whether every request must hold exactly so many.
        binary: whether tensors travel as bytes.
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
        """Return what the input says about preprocessing: whole numbers take 0..255, others 0..1."""
        std = (1.0,) if "F" in self.datatype else (1 / 255,)
        return Preprocessing(size=self.size, std=std, channels="grey" if self.channels == 1 else "rgb")

    def arranged(self, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return pictures `[B, C, H, W]` in the layout of the input, filled up to what it must hold."""
        if self.full and len(pictures) < self.batch:
            missing = np.repeat(pictures[-1:], self.batch - len(pictures), axis=0)
            pictures = np.concatenate([pictures, missing])
        if self.layout.endswith("HWC"):
            pictures = pictures.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pictures if self.layout.startswith("N") else pictures[0])


def input_spec_of(metadata: ServerMetadata, options: InferenceOptions) -> InputSpec:
    """Return what the server takes: what it says, overruled by the options.

    Raises:
        ValueError: if that is no input for pictures.
    """
    tensor = _tensor(metadata.inputs, options.input)
    layout = options.layout or _layout(tensor)
    sides = _sides(tensor, layout)
    binary = metadata.binary if options.binary is None else options.binary
    datatype = _datatype(tensor, options.datatype)
    check_encodable(datatype, binary=binary)
    height, width = sides["H"], sides["W"]
    asked = options.batch if "N" in layout else 1
    fixed = sides.get("N", 1) if sides.get("N", 1) > 0 else None
    numbers = max(1, sides["C"]) * (height if height > 0 else _SIDE) * (width if width > 0 else _SIDE)
    return InputSpec(
        name=tensor.name,
        datatype=datatype,
        layout=layout,
        size=(height, width) if height > 0 and width > 0 else None,
        channels=1 if sides["C"] == 1 else 3,
        batch=asked or fixed or max(1, min(_MOST_PICTURES, _MOST_NUMBERS[binary] // numbers)),
        full=fixed is not None and asked is None,
        binary=binary,
    )


def _tensor(inputs: Sequence[TensorSpec], name: str | None) -> TensorSpec:
    if name is None and len(inputs) == 1:
        return inputs[0]
    for tensor in inputs:
        if tensor.name == name:
            return tensor
    if inputs:
        words = ", ".join(tensor.name for tensor in inputs)
        raise ValueError(f"options.input = {name!r}: the model takes {words}; name one")
    if name is None:
        raise ValueError("options.input: the server does not name the model's inputs; give the name of the one")
    return TensorSpec(name=name, datatype="FP32", shape=[])


def _layout(tensor: TensorSpec) -> Layout:
    """Return the layout that a shape tells: the side of 1 or 3 is that of the channels."""
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
    """Return the sides by their letters, -1 where they are free; all of them where the shape is another's."""
    shape = tensor.shape if len(tensor.shape) == len(layout) else [-1] * len(layout)
    sides = dict(zip(layout, shape, strict=True))
    if sides["C"] not in {-1, 1, 3}:
        raise ValueError(f"input {tensor.name!r} has shape {tensor.shape}: {sides['C']} channels, {layout}")
    return sides


def _datatype(tensor: TensorSpec, asked: Datatype | None) -> Datatype:
    if asked is not None:
        return asked
    for known in get_args(Datatype):
        if tensor.datatype == known:
            return cast(Datatype, known)
    raise ValueError(f"input {tensor.name!r} is {tensor.datatype}; rise-serve sends {', '.join(get_args(Datatype))}")
