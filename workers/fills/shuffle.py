"""The image itself, cut into small patches that change places: keeps colours and texture, and leaves no shape."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

_PATCHES = 32  # along the longer side: a quarter of a cell of the default grid


def paint(image: Tensor, *, seed: int, **_: Any) -> Tensor:
    """Return the image with its patches in another order, `[3, H, W]`; what is no whole patch stays where it is."""
    side = max(1, round(max(image.shape[1:]) / _PATCHES))
    rows, columns = (length // side for length in image.shape[1:])
    whole = image[:, : rows * side, : columns * side]
    patches = whole.reshape(3, rows, side, columns, side).permute(1, 3, 0, 2, 4).flatten(0, 1)
    order = np.random.Generator(np.random.Philox(key=[seed, 0x53485546])).permutation(len(patches))
    moved = patches[torch.from_numpy(order).to(image.device)].reshape(rows, columns, 3, side, side)
    painted = image.clone()
    painted[:, : rows * side, : columns * side] = moved.permute(2, 0, 3, 1, 4).reshape(whole.shape)
    return painted
