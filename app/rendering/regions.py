"""The highest-mass region of a map."""

import numpy as np
from numpy.typing import NDArray


def top_mass_region(values: NDArray[np.float32], level: float) -> NDArray[np.bool_]:
    """Return the smallest region that holds a share of the positive saliency, bounded by one value of the map.

    Args:
        values: `[H, W]`, a map.
        level: the share, above 0 up to 1.

    Returns:
        `[H, W]`, true inside; nothing is where the map has no positive value.
    """
    positive = np.maximum(values, 0).astype(np.float64)
    strongest_first = np.sort(positive, axis=None)[::-1]
    held = np.cumsum(strongest_first)
    if held[-1] == 0:
        return np.zeros(values.shape, dtype=bool)
    needed = min(int(np.searchsorted(held, level * held[-1])), held.size - 1)
    return np.asarray((positive >= strongest_first[needed]) & (positive > 0))
