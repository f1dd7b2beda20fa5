"""How blocks are stored and sent: one array `[R + E, K, h, w]` each.

The first R rows are effects. The numbers after them are the moments of the targets' scores, `[T, 3]`, in as few rows E
as hold them, filled up with zeros. They are NaN where they are not known; blocks of versions before these moments have
R rows only. Whoever draws maps reads rows of effects by their number and needs to know nothing of the others.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.saliency.estimators import Block
from workers.saliency.score_moments import MOMENTS

Array = NDArray[np.float32]


def pack(block: Block, target_rows: Sequence[int]) -> Array:
    """Return the array of a contrast block."""
    shape = block.effects.shape[1:]
    needed = MOMENTS * len(target_rows)
    extra = np.zeros((-(-needed // int(np.prod(shape))), *shape), dtype=np.float32)
    extra.flat[:needed] = np.nan if block.moments is None else block.moments[list(target_rows)].ravel()
    return np.concatenate([block.effects, extra]).astype(np.float32)


def unpack(array: Array, rows: int, target_rows: Sequence[int]) -> tuple[Array, Array | None]:
    """Return the effects `[R, K, h, w]` and the moments `[R, 3]` of a stored block.

    Args:
        array: of the block.
        rows: number of rows R of effects.
        target_rows: row of each target; the moments of other rows are not kept, and NaN.
    """
    if len(array) <= rows:
        return array, None
    moments = np.full((rows, MOMENTS), np.nan, dtype=np.float32)
    moments[list(target_rows)] = array[rows:].ravel()[: MOMENTS * len(target_rows)].reshape(-1, MOMENTS)
    return array[:rows], moments


def concatenated(arrays: Sequence[Array]) -> Array:
    """Return blocks `[n, R + E, K, h, w]` one after the other; moments that older ones do not have are NaN."""
    most = max(array.shape[1] for array in arrays)
    gaps = [[(0, 0), (0, most - array.shape[1]), *[(0, 0)] * (array.ndim - 2)] for array in arrays]
    return np.concatenate([np.pad(array, gap, constant_values=np.nan) for array, gap in zip(arrays, gaps, strict=True)])
