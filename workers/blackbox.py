"""What the masking loop knows of a model: pictures in, scores or detections out.

Nothing else may be known about a black box. A loader (`workers/models/`) returns one of the two values below;
methods and the loop call `forward` and read the fields, and never ask where the model came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

CPU = torch.device("cpu")

Activation = Literal["softmax", "sigmoid", "probabilities"]


@dataclass(frozen=True)
class Preprocessing:
    """How a picture in 0..1 becomes what `forward` takes.

    Attributes:
        size: height and width of the model's input in pixels; None takes any size.
        resize: `stretch` to the size, `crop` (shortest side, then the centre) or `letterbox` (longest side, grey bars).
        mean: per channel, subtracted from pixel values in 0..1.
        std: per channel, divides what is left.
    """

    size: tuple[int, int] | None
    resize: Literal["stretch", "crop", "letterbox"] = "stretch"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


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


@dataclass(frozen=True)
class Classifier:
    """A black box that gives one score per class.

    Attributes:
        forward: normalised pictures `[B, 3, H, W]` -> raw outputs `[B, C]`.
        labels: the names of the C classes.
        preprocessing: what happens to a picture before `forward`.
        activation: what turns raw outputs into probabilities.
        files: the files that define the model; they are part of its digest.
        device: where `forward` wants its input.
        dtype: in which precision.
        randomised: makes the same model with random weights from a seed, for sanity checks; None where it cannot.
    """

    forward: Callable[[Tensor], Tensor]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    activation: Activation = "softmax"
    files: tuple[Path, ...] = ()
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    randomised: "Callable[[int], Classifier] | None" = None


@dataclass(frozen=True)
class Detector:
    """A black box that gives boxes with classes.

    Attributes:
        forward: normalised pictures `[B, 3, H, W]` -> `Detections`.
        labels: the names of the C classes.
        preprocessing: what happens to a picture before `forward`.
        files: the files that define the model; they are part of its digest.
        device: where `forward` wants its input.
        dtype: in which precision.
    """

    forward: Callable[[Tensor], Detections]
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    files: tuple[Path, ...] = ()
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32


BlackBox = Classifier | Detector
