"""The image itself, blurred until no shape is left: hides detail and keeps colour.

A Gaussian with a standard deviation of a tenth of the longer side, relative to the image so that the same picture at
another size gets the same fill; mirrored at the border.
"""

from typing import Any

import torch
from torch import Tensor

_RELATIVE_SIGMA = 0.1


def paint(image: Tensor, **_: Any) -> Tensor:
    """Return the blurred image, `[3, H, W]`."""
    sigma = _RELATIVE_SIGMA * max(image.shape[1:])
    rows, columns = (_blur_matrix(side, sigma, image) for side in image.shape[1:])
    return rows @ image @ columns.mT


def _blur_matrix(side: int, sigma: float, image: Tensor) -> Tensor:
    """Return what pixels along a side become, `[side, side]`.

    Matrices, because a convolution, whose kernel spans three fifths of the side, takes four to six times as long.
    """
    radius, last = min(round(3 * sigma), side - 1), side - 1
    distance = torch.arange(2 * last + 1, dtype=image.dtype, device=image.device)
    density = torch.exp(-0.5 * (distance / sigma) ** 2) * (distance <= radius)
    to = torch.arange(side, device=image.device)
    come = to[:, None]
    weights = density[(to - come).abs()] + density[to + come] * (to > 0) + density[2 * last - to - come] * (to < last)
    return weights / weights.sum(1, keepdim=True)
