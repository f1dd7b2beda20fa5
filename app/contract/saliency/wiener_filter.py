"""Takes noise out of a map: shrinks each pixel towards zero by how much of what is around it is noise.

A map is near zero over most of an image, and there its noise is all there is. This is the Wiener filter with local
statistics of Lee (IEEE PAMI 1980), with the noise known from the spread of blocks. Error bars stay those of the mean
before it was shrunk: what is taken away is about one of them at most. Measured in `bench/EXPERIMENTS.md`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.error_bars import box_mean, pooled_squared_error
from app.contract.saliency.running_moments import ROUNDING, RunningMoments
from app.contract.saliency.tiling import Tiling

_CAUTION = 1.5  # because the power around a pixel is measured, too
_TINY = np.finfo(np.float64).tiny

Map = NDArray[np.float64]


def wiener_shrink(moments: RunningMoments, tiling: Tiling) -> tuple[Map, list[float] | None]:
    """Return the mean of block maps without what is mostly noise, and how reliable it is.

    Args:
        moments: of block maps `[T, ..., H, W]`.
        tiling: of the cells along H and W.

    Returns:
        Values `[T, ..., H, W]`, and per target the expected correlation with the fully converged map, 0..1: the error
        is the noise that stayed and the signal that went. As long as there are no error bars, the mean and None.

    Raises:
        ValueError: if there is no block yet.
    """
    squared_error, noise, mean = moments.squared_error(), pooled_squared_error(moments, tiling), moments.mean
    if mean is None:
        raise ValueError("there is no block yet")
    if squared_error is None or noise is None:
        return mean, None
    power = box_mean(mean**2, tiling.grid)
    kept = np.clip(1 - _CAUTION * noise / np.maximum(power, _TINY), 0, 1)
    wrong = kept**2 * noise + (1 - kept) ** 2 * np.maximum(power - noise, 0)
    return mean * kept, [_reliability(*of_target) for of_target in zip(mean, squared_error, wrong, strict=True)]


def _reliability(mean: Map, squared_error: Map, wrong: Map) -> float:
    """Return the expected correlation; 0 for a map without any variation, as of a constant model."""
    signal = float(mean.var() - squared_error.mean())
    return math.sqrt(max(0.0, 1 - float(wrong.mean()) / signal)) if signal > ROUNDING**2 else 0.0
