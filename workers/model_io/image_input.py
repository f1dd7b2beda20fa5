"""The one input of a model that is a graph in a file: its layout, size, type and batch, and pictures brought to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from workers.blackbox import Preprocessing
from workers.model_io.model_entry import ModelEntry
from workers.model_io.outputs import Outputs
from workers.model_io.preprocessing_config import preprocessing_of

Layout = Literal["nchw", "nhwc"]
Run = Callable[[Tensor], Outputs]
"""Pictures as the graph takes them -> its outputs by name."""

SideInput = Callable[[tuple[int, int]], Sequence[float]]
"""Height and width of the model's input -> what another input than the picture is given for each picture."""

_COLORS = {1, 3}
_SIDE_INPUTS: dict[str, SideInput] = {
    "orig_target_sizes": lambda size: (size[1], size[0]),  # RT-DETR, D-FINE, DEIM: boxes come in pixels of this size
    "im_shape": lambda size: size,  # PaddleDetection
    "scale_factor": lambda _: (1.0, 1.0),  # PaddleDetection: how much the picture was resized before
}


@dataclass(frozen=True)
class ImageInput:
    """What a graph takes.

    Attributes:
        layout: order of its axes.
        channels: 1 or 3; None where the graph does not say.
        size: height and width in pixels; None where the graph takes any.
        dtype: of its numbers; whole numbers are 0..255.
        least: pictures that it takes at least; fewer are filled up with black ones.
        most: pictures that it takes at most; more are given one part after another. None sets no limit.
        has_batch_axis: False where it takes one picture, of three axes.
    """

    layout: Layout
    channels: int | None
    size: tuple[int, int] | None
    dtype: torch.dtype = torch.float32
    least: int = 1
    most: int | None = None
    has_batch_axis: bool = True

    @property
    def fixed_batch(self) -> int | None:
        """The number of pictures that it takes, neither more nor fewer; None where it has a choice."""
        return self.most if self.most == self.least else None

    @property
    def blended(self) -> torch.dtype:
        """In which precision masks are applied before pictures become what the graph takes."""
        return self.dtype if self.dtype.is_floating_point else torch.float32


def image_input(shape: Sequence[int | None], layout: Layout | None, dtype: torch.dtype) -> ImageInput:
    """Read the shape of an input.

    Args:
        shape: four sides, or three of one picture; None where the graph takes any length.
        layout: what the operator says; None takes what the shape looks like.
        dtype: of its numbers.

    Raises:
        ValueError: if this is no shape of pictures.
    """
    if len(shape) == 3 and (shape[0] in _COLORS or shape[2] in _COLORS):
        return replace(image_input([1, *shape], layout, dtype), has_batch_axis=False)
    if len(shape) != 4:
        raise ValueError(f"its input has shape {described(shape)}; pictures have four axes")
    if layout is None:
        layout = "nhwc" if shape[1] not in _COLORS and shape[3] in _COLORS else "nchw"
    channels, height, width = shape[1:] if layout == "nchw" else (shape[3], shape[1], shape[2])
    if channels not in {None, *_COLORS}:
        raise ValueError(f"its input has shape {described(shape)}, and so {channels} channels; pictures have 1 or 3")
    size = None if height is None or width is None else (height, width)
    batch = shape[0]
    return ImageInput(layout, channels, size, dtype, batch or 1, batch)


def side_inputs(names: Sequence[str], said: Mapping[str, Sequence[float]]) -> dict[str, SideInput]:
    """Return what the inputs beside the picture are given.

    Args:
        names: of those inputs.
        said: by the operator, for each picture.

    Raises:
        ValueError: naming the line to write, for one that neither the operator nor a known exporter names.
    """
    if unknown := [name for name in names if name not in said and name not in _SIDE_INPUTS]:
        lines = ", ".join(f"inputs = {{ {name} = [...] }}" for name in unknown)
        raise ValueError(f"options.inputs: the model also takes {', '.join(unknown)}; write {lines}")
    if extra := [name for name in said if name not in names]:
        raise ValueError(f"options.inputs: the model has no input {', '.join(extra)} beside the picture")
    return {name: _constant(said[name]) if name in said else _SIDE_INPUTS[name] for name in names}


def _constant(values: Sequence[float]) -> SideInput:
    return lambda _: values


def described(shape: Sequence[int | None]) -> str:
    """Return a shape in words, `?` for any length."""
    return f"[{', '.join('?' if side is None else str(side) for side in shape)}]"


def preprocessing_for(given: ImageInput, entry: ModelEntry) -> Preprocessing:
    """Return how pictures become what a graph takes: what the entry says, where it fits the graph.

    Raises:
        ValueError: if it does not fit, or if neither says the size.
    """
    said = entry.preprocessing
    if given.size is None and said.size is None and said.resize != "scale":
        raise ValueError("preprocessing.size: the model takes any; give the side, or [height, width], in pixels")
    found = Preprocessing(
        given.size,
        std=(1.0,) if given.dtype.is_floating_point else (1 / 255,),
        channels="grey" if given.channels == 1 else "rgb",
    )
    preprocessing = preprocessing_of(entry, found)
    if given.size is not None and preprocessing.size != given.size:
        raise ValueError(f"preprocessing.size: {preprocessing.size} asked for, but the model takes {given.size}")
    if given.channels is not None and given.channels != (1 if preprocessing.channels == "grey" else 3):
        words = f"{preprocessing.channels} asked for, but the model takes {given.channels} channels"
        raise ValueError(f"preprocessing.channels: {words}")
    return preprocessing


def run_batched(run: Run, given: ImageInput, images: Tensor, *, checked: bool = True) -> Iterator[Outputs]:
    """Yield a graph's outputs for pictures `[B, C, H, W]`, part by part, without those for pictures filled up.

    Raises:
        ValueError: if an output's first axis does not count pictures, unless that is not `checked`.
    """
    ready = _as_taken(images, given)
    step = given.most or len(ready)
    for start in range(0, len(ready), step):
        part = ready[start : start + step]
        missing = given.least - len(part)
        if missing <= 0:
            outputs = run(part if given.has_batch_axis else part[0])
            yield _checked(outputs, len(part)) if checked else outputs
        else:
            filled = functional.pad(part, (0,) * 2 * (part.dim() - 1) + (0, missing))
            yield {name: output[: len(part)] for name, output in _checked(run(filled), given.least).items()}


def _as_taken(images: Tensor, given: ImageInput) -> Tensor:
    """Return pictures in the graph's layout and type: the same memory where nothing has to change."""
    if not given.dtype.is_floating_point:
        images = images.round().clamp(0, 255)
    if given.layout == "nhwc":
        images = images.permute(0, 2, 3, 1)
    return images.to(given.dtype).contiguous()


def _checked(outputs: Outputs, pictures: int) -> Outputs:
    for name, output in outputs.items():
        if output.dim() == 0 or len(output) != pictures:
            words = f"output {name!r} has shape {list(output.shape)}"
            raise ValueError(f"{words} for {pictures} pictures; the first axis should count pictures")
    return outputs
