"""Uniform noise, the same for the same seed."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


def paint(image: Tensor, *, seed: int, **_: Any) -> Tensor:
    """Return noise in 0..1, `[3, H, W]`."""
    noise = np.random.Generator(np.random.Philox(key=[seed, 0x4E4F495345])).random(tuple(image.shape), dtype=np.float32)
    return torch.from_numpy(noise).to(image)
