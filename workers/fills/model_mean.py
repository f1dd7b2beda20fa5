"""The mean that the model's normalisation subtracts: what the authors' RISE code hides with."""

from typing import Any

from torch import Tensor

from workers.fills import solid


def paint(image: Tensor, *, model_mean: tuple[float, float, float], **_: Any) -> Tensor:
    """Return the model's mean colour, `[3, H, W]`."""
    return solid(image, model_mean)
