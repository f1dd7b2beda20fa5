"""What the blocks of an explanation say about its targets beyond their maps; gathered block by block, without a pass.

Memory is bounded: effects of the first blocks, and sums.
"""

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.geometry import Canvas
from workers.saliency.additive_fit import FittedBlock, cross_validated_r2, most_blocks
from workers.saliency.sampling import MaskDesign
from workers.saliency.score_moments import EVEN_VARIANCE, VARIANCE

BLOCKS_FOR_FIDELITY = 2

_ROUNDING = 1e-14  # variance of scores of about 1 that differ by rounding in float32


class BlockStatistics:
    """Interaction share, fidelity and relevance of cells, from blocks that come one by one.

    Args:
        canvas: of the masks.
        design: of the blocks.
        targets: how many there are.
    """

    def __init__(self, canvas: Canvas, design: MaskDesign, targets: int) -> None:
        self._canvas = canvas
        self._design = design
        self._most = most_blocks(design, targets)
        self._fitted: list[FittedBlock] = []
        self._variance = np.zeros(targets)
        self._even = np.zeros(targets)
        self._relevance = np.zeros((targets, design.fills, *design.grid))
        self._blocks = 0
        self._measured = 0

    def add(self, index: int, effects: NDArray[np.float32], moments: NDArray[np.float32] | None) -> None:
        """Add one more block.

        Args:
            index: its number.
            effects: of the targets, `[T, K, h, w]`.
            moments: of the targets' scores, `[T, 3]`; None or NaN where they are not known.
        """
        values = effects.astype(np.float64)
        self._relevance += self._on_first_cells(index, values)
        self._blocks += 1
        if moments is None or np.isnan(moments[:, VARIANCE]).any():
            return
        self._measured += 1
        self._variance += moments[:, VARIANCE]
        self._even += moments[:, EVEN_VARIANCE]
        if len(self._fitted) < self._most:
            self._fitted.append(FittedBlock(index, values, moments.astype(np.float64)))

    def interaction_share(self) -> list[float | None]:
        """Return per target the share of the scores' variance from interactions of even order, 0..1.

        None where masks have no fold-over, where fewer than two blocks are known, and for constant scores.
        """
        if self._measured < BLOCKS_FOR_FIDELITY:
            return [None] * len(self._variance)
        return _finite(np.divide(self._even, self._variance, where=self._varies, out=np.full_like(self._even, np.nan)))

    def fidelity(self) -> list[float | None]:
        """Return per target the cross-validated R2 of the additive model; None where it is not defined, as above."""
        if len(self._fitted) < BLOCKS_FOR_FIDELITY:
            return [None] * len(self._variance)
        r2 = cross_validated_r2(self._canvas, self._design, self._fitted)
        return _finite(np.where(self._varies, r2, np.nan))

    def relevance(self) -> NDArray[np.float64]:
        """Return the mean of each target's map over each cell of the first block's masks, `[T, K, h, w]`.

        Raises:
            ValueError: if there is no block yet.
        """
        if not self._blocks:
            raise ValueError("there is no block yet")
        return np.asarray(self._relevance / self._blocks)

    @property
    def _varies(self) -> NDArray[np.bool_]:
        return np.asarray(self._variance > _ROUNDING * max(1, self._measured))

    def _on_first_cells(self, index: int, effects: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the map of a block, averaged over the cells of the first block: `B_0^T (B_b e_b / v1)` over areas."""
        sides = []
        for axis, first, own in zip(self._canvas.axes, self._canvas.shift(0), self._canvas.shift(index), strict=True):
            cells = axis.rows(first).astype(np.float64)
            drawn = axis.rows(own) / axis.second_moment()[:, None]
            area = np.maximum(cells.sum(0), np.finfo(np.float64).tiny)
            sides.append(cells.T @ drawn / area[:, None])
        return np.asarray(sides[0] @ effects @ sides[1].T)


def _finite(values: NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
