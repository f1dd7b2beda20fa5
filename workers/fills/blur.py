"""The image itself, blurred until no shape is left: hides detail and keeps colour.

A Gaussian with a standard deviation of a tenth of the longer side, relative to the image so that the same picture at
another size gets the same fill; mirrored at the border.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_RELATIVE_SIGMA = 0.1


def paint(image: Tensor, **_: Any) -> Tensor:
    """Return the blurred image, `[3, H, W]`."""
    sigma = _RELATIVE_SIGMA * max(image.shape[1:])
    return _blurred(_blurred(image, sigma), sigma)


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Blur along the last axis and swap the two spatial axes."""
    radius = min(round(3 * sigma), image.shape[-1] - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    padded = functional.pad(image, (radius, radius), mode="reflect")
    rows = functional.conv1d(padded.flatten(0, 1).unsqueeze(1), (kernel / kernel.sum()).view(1, 1, -1))
    return rows.view(*image.shape).mT
