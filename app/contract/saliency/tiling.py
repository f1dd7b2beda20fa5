"""Which cells of a grid share one random state: each its own, or, far from what is explained, squares of four.

A grid that is fine enough for a small object has most of its cells where the object is not. There, squares of two by
two cells are shown and hidden together: one *tile*, one unknown instead of four, as meshes are refined where a solution
needs it (Berger and Oliger, Journal of Computational Physics 53, 1984). Which squares are refined follows from the
targets' boxes alone and never from scores, so that effects stay unbiased. A tile's effect is spread evenly over its
cells: values keep the unit of a single cell, and maps are drawn as those of any grid.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Squares = tuple[tuple[int, int], ...]
"""Row and column of squares of two by two cells."""


@dataclass(frozen=True)
class Tiling:
    """The tiles of a grid.

    Attributes:
        grid: cells along the height and along the width; both even where there are squares.
        refined: squares whose four cells are a tile each; the cells of every other square are one tile. None: every
            cell of the grid is a tile.
    """

    grid: tuple[int, int]
    refined: Squares | None = None

    @property
    def is_uniform(self) -> bool:
        """Whether every cell is a tile."""
        return self.refined is None

    @property
    def count(self) -> int:
        """Number of tiles."""
        return int(self.numbers.max()) + 1

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Number of each cell's tile, from 0 on, `[h, w]`."""
        height, width = self.grid
        cells = np.arange(height * width).reshape(height, width)
        corners = cells[::2, ::2].repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
        _, numbers = np.unique(np.where(self.alone, cells, corners), return_inverse=True)
        return numbers.reshape(height, width)

    @cached_property
    def alone(self) -> NDArray[np.bool_]:
        """Whether each cell is a tile, `[h, w]`."""
        alone = np.full(self.grid, self.refined is None)
        for row, column in self.refined or ():
            alone[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = True
        return alone

    @cached_property
    def first_cells(self) -> NDArray[np.int64]:
        """Number of each tile's first cell, row by row, `[tiles]`."""
        return np.unique(self.numbers, return_index=True)[1]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Cells of each tile, `[tiles]`."""
        return np.bincount(self.numbers.ravel())

    @cached_property
    def _memberships(self) -> Numbers:
        """1 where a cell belongs to a tile, else 0, `[h * w, tiles]`."""
        return np.eye(self.count)[self.numbers.ravel()]

    def totals(self, values: Numbers) -> Numbers:
        """Return sums over the cells of each tile, `[..., tiles]`, of values `[..., h, w]`."""
        if self.is_uniform:
            return values.reshape(*values.shape[:-2], -1)
        rows = values.reshape(-1, self.numbers.size)  # because one product of matrices is faster than many
        return np.asarray(rows @ self._memberships).reshape(*values.shape[:-2], self.count)

    def means(self, values: Numbers) -> Numbers:
        """Return values `[..., h, w]` with each cell's replaced by the mean of its tile."""
        if self.is_uniform:
            return values
        return np.asarray((self.totals(values) / self.sizes)[..., self.numbers])
