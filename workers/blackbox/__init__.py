"""What the masking loop knows of a model: pictures in, scores, detections or maps of scores out.

Nothing else may be known about a black box; only a check of the audit, which compares, looks into the network of one
that has it. A loader (`workers/models/`) returns one of the three values below;
methods and the loop call `forward` and read the fields, and never ask where the model came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from app.contract.schemas import Assumption

CPU = torch.device("cpu")

Activation = Literal["softmax", "sigmoid", "probabilities"]
Resize = Literal["stretch", "crop", "letterbox", "scale"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Channels = Literal["rgb", "bgr", "grey"]


class BlackBoxError(ValueError):
    """A black box says, in words for the reader, why it gives no answer: a server that is down, an answer amiss."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture in 0..1 becomes what `forward` takes.

    Attributes:
        size: height and width of the model's input in pixels; None where they follow from the picture.
        resize: `stretch` to the size; `crop` (shorter side to `shortest_side`, then the centre); `letterbox` (longer
            side, grey bars); `scale` (shorter side to `shortest_side`, the longer one at most `longest_side`), which
            keeps the whole picture and its proportions, so that the size follows from the picture.
        stretched_to: of `crop`, height and width before the centre is cut; None keeps the picture's proportions.
        side_multiple: of `scale`, what both sides are cut down to a multiple of, in pixels.
        mean: per channel in the model's order, subtracted from pixel values in 0..1.
        std: per channel, divides what is left; 1/255 for a model that takes 0..255.
        shortest_side: of `crop` (None: as small as covers the size) and `scale`, in pixels.
        longest_side: of `scale`, in pixels; None sets no limit.
        interpolation: how pictures are resized.
        channels: their order, or one channel of luma.
    """

    size: tuple[int, int] | None
    resize: Resize = "stretch"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    shortest_side: int | None = None
    longest_side: int | None = None
    interpolation: Interpolation = "bilinear"
    channels: Channels = "rgb"
    stretched_to: tuple[int, int] | None = None
    side_multiple: int = 1

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """Return height and width of the input that a picture gives."""
        if self.size is not None:
            return self.size
        if self.resize != "scale" or self.shortest_side is None:
            return height, width
        short, long = min(width, height), max(width, height)
        wanted = float(self.shortest_side)
        if self.longest_side is not None:
            wanted = min(wanted, self.longest_side * short / long)
        # Because libraries round the shorter side and cut the longer one, a picture is as large here as there.
        sides = [
            max(1, side // self.side_multiple) * self.side_multiple
            for side in (round(wanted), int(wanted * long / short))
        ]
        return (sides[0], sides[1]) if height <= width else (sides[1], sides[0])

    @property
    def mean_color(self) -> tuple[float, float, float]:
        """The mean as a colour, red first."""
        if len(self.mean) == 1:
            return (self.mean[0],) * 3
        first, second, third = self.mean
        return (third, second, first) if self.channels == "bgr" else (first, second, third)


@dataclass(frozen=True)
class Detections:
    """Everything a detector emits on a batch, before thresholds and suppression where the model gives it.

    Attributes:
        boxes_xyxy: `[B, P, 4]` corners in pixels of the model's input, continuous coordinates.
        classes: `[B, P, C]` class scores, 0..1.
        objectness: `[B, P]`, 0..1; 0 marks padding.
    """

    boxes_xyxy: Tensor
    classes: Tensor
    objectness: Tensor


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """How a model is identified, and how it runs.

    Attributes:
        files: the files that define the model; they are part of its digest.
        identity: what else is part of it, such as the version that a remote model names.
        has_changed: asks whether that is another by now; None where it cannot be.
        device: where `forward` wants its input.
        dtype: in which precision.
        fixed_batch: how many pictures the model itself takes at once; `forward` divides and fills up. None: any number.
        assumptions: what the loader takes to be so, and whence.
    """

    files: tuple[Path, ...] = ()
    identity: str = ""
    has_changed: Callable[[], bool] | None = None
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    fixed_batch: int | None = None
    assumptions: tuple[Assumption, ...] = ()


@dataclass(frozen=True)
class Classifier(Runtime):
    """A black box that gives one score per class.

    Attributes:
        forward: normalised pictures `[B, 3, H, W]` -> raw outputs `[B, C]`.
        labels: the names of the C classes.
        preprocessing: what happens to a picture before `forward`.
        activation: what turns raw outputs into probabilities.
        randomised: makes the same model with random weights from a seed, for sanity checks; None where it cannot.
        network: behind `forward`, where gradients can be had of it; None elsewhere.
    """

    forward: Callable[[Tensor], Tensor]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    activation: Activation = "softmax"
    randomised: "Callable[[int], Classifier] | None" = None
    network: nn.Module | None = None


@dataclass(frozen=True)
class Detector(Runtime):
    """A black box that gives boxes with classes.

    Attributes:
        forward: normalised pictures `[B, 3, H, W]` -> `Detections`.
        labels: the names of the C classes.
        preprocessing: what happens to a picture before `forward`.
    """

    forward: Callable[[Tensor], Detections]
    labels: tuple[str, ...]
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Segmenter(Runtime):
    """A black box that gives each place of a picture one score per class.

    Attributes:
        forward: normalised pictures `[B, 3, H, W]` -> raw outputs `[B, C, h, w]` for the whole input, of any h and w.
        labels: the names of the C classes.
        preprocessing: what happens to a picture before `forward`.
        activation: what turns raw outputs into probabilities, place by place.
    """

    forward: Callable[[Tensor], Tensor]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    activation: Activation = "softmax"


BlackBox = Classifier | Detector | Segmenter
