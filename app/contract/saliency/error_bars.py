"""Error bars of a map: its standard error from few blocks, and how wide an interval has to be.

Two or three blocks say little about the noise of one pixel. But noise is alike in neighbouring cells, because a design
gives every cell the same error, so the variance is pooled over the two cells around a pixel. Drawn bilinearly, such a
window of 2 x 2 cells holds about five independent values (Satterthwaite's degrees of freedom of its mean square); four
are counted. Noise of a published map is less local, because the share of masks that keep much moves all of it: two are
counted. Coverage is measured in `bench/EXPERIMENTS.md`.

Where some cells share a tile (`tiling.py`), the design gives every tile the same error, of which each of its cells
has a quarter. So deviations are pooled after division by what is expected of their place, over two tiles on a side.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.geometry import Axis
from app.contract.saliency.running_moments import RunningMoments
from app.contract.saliency.tiling import Tiling

_CELLS = 2  # around a pixel: maps are smooth within them
_INDEPENDENT = 4  # values in a window of so many cells on a side, at least
_INDEPENDENT_PUBLISHED = 2
_NORMAL = 1.959964  # the normal distribution's 97.5 % quantile

Map = NDArray[np.float64]


def standard_error(moments: RunningMoments, tiling: Tiling) -> Map | None:
    """Return the standard error of the mean of block maps.

    Args:
        moments: of block maps `[T, ..., H, W]`.
        tiling: of the cells along H and W.

    Returns:
        `[T, ..., H, W]`; None before there are two blocks.
    """
    squared = pooled_squared_error(moments, tiling)
    return None if squared is None else np.sqrt(squared)


def pooled_squared_error(moments: RunningMoments, tiling: Tiling) -> Map | None:
    """Return the squared standard error, pooled over neighbours; arguments and result as of `standard_error`."""
    squared = moments.squared_error()
    if squared is None or tiling.is_uniform:
        return None if squared is None else box_mean(squared, tiling.grid)
    expected = _noise_of_tiles(squared.shape[-2], squared.shape[-1], tiling)
    largest = (tiling.grid[0] // 2, tiling.grid[1] // 2)
    return np.asarray(box_mean(squared / expected, largest) * expected)


@lru_cache(maxsize=16)
def _noise_of_tiles(height: int, width: int, tiling: Tiling) -> Map:
    """Return the variance of a map's pixels, but for a factor, where all tiles' effects have the same, `[H, W]`."""
    (rows, row_pairs), (columns, column_pairs) = (
        _squared_weights(Axis(pixels, cells)) for pixels, cells in zip((height, width), tiling.grid, strict=True)
    )
    squares = ~tiling.alone[::2, ::2] / 16
    return np.asarray(rows @ tiling.alone @ columns.T + row_pairs @ squares @ column_pairs.T)


def _squared_weights(axis: Axis) -> tuple[Map, Map]:
    """Return means over shifts of squared weights in a map: of single cells `[H, h]`, and of pairs `[H, h / 2]`."""
    weights = np.stack([axis.rows(shift) for shift in range(axis.cell)]) / axis.second_moment()[:, None]
    return (weights**2).mean(0), ((weights[..., ::2] + weights[..., 1::2]) ** 2).mean(0)


def degrees_of_freedom(blocks: int, *, published: bool) -> int:
    """Return those of the standard error after so many blocks, of effects or of the published estimator's maps."""
    return (_INDEPENDENT_PUBLISHED if published else _INDEPENDENT) * max(blocks - 1, 0)


def interval_factor(degrees: int) -> float:
    """Return how many standard errors a 95 % interval reaches to each side: Student's t.

    The first terms of Fisher and Cornish's expansion, exact to 0.01 from 4 degrees of freedom on.

    Args:
        degrees: of freedom, at least 4.
    """
    z = _NORMAL
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / degrees**order for order, term in enumerate(terms, start=1))


def box_mean(values: Map, grid: tuple[int, int]) -> Map:
    """Return the mean of the two cells around each pixel, mirrored at the border.

    Args:
        values: `[..., H, W]`, not negative.
        grid: cells along H and W.
    """
    for axis, cells in zip((values.ndim - 2, values.ndim - 1), grid, strict=True):
        length = values.shape[axis]
        width = max(1, min(length, round(_CELLS * length / cells)))
        pad = [(0, 0)] * values.ndim
        pad[axis] = (width // 2 + 1, width - 1 - width // 2)  # one more in front, to start the sums with
        sums = np.cumsum(np.pad(values, pad, mode="symmetric"), axis=axis)
        above, below = (np.arange(first, first + length) for first in (width, 0))
        values = np.maximum(np.take(sums, above, axis) - np.take(sums, below, axis), 0) / width
    return values
