"""Which cells are hidden in which mask: random states that come in blocks.

A block is a set of masks that share one shift and are sampled together; block b of seed s is a pure function of
(s, b), drawn from a counter-based generator (Philox) that is keyed with both. States do not depend on the batch size,
the device, the worker, or on what ran before.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.tiling import Squares, Tiling
from workers.saliency.hadamard import hadamard_matrix, hadamard_order

States = NDArray[np.uint8]

_ROUNDING = 64


@dataclass(frozen=True)
class MaskDesign:
    """How the states of a block are sampled: one for each tile of cells (`app/contract/saliency/tiling.py`).

    Attributes:
        grid: cells along the height and along the width.
        keep: chance that a tile stays visible, inside 0..1.
        fills: number of fills K; state 0 keeps a cell, state k hides it by fill k.
        seed: 0..2^63-1.
        refined: squares of cells, as of `Tiling`.
    """

    grid: tuple[int, int]
    keep: float
    fills: int
    seed: int
    refined: Squares | None = None

    @property
    def cells(self) -> int:
        """Cells of one mask."""
        return self.grid[0] * self.grid[1]

    @cached_property
    def tiling(self) -> Tiling:
        """Which cells share a state."""
        return Tiling(self.grid, self.refined)

    @property
    def balanced(self) -> bool:
        """Whether blocks are Hadamard designs: half of the cells kept, one fill."""
        return self.keep == 0.5 and self.fills == 1

    @property
    def block_size(self) -> int:
        """Masks in one block: twice the unknowns at least."""
        if self.balanced:
            return 2 * hadamard_order(self.tiling.count)
        return -(-2 * self.fills * self.tiling.count // _ROUNDING) * _ROUNDING

    def sample(self, block: int) -> States:
        """Return the states of a block, `[block_size, h, w]`, values 0..K."""
        random = np.random.Generator(np.random.Philox(key=[self.seed, block]))
        tiles = self.tiling.count
        states = _hadamard_states(random, tiles) if self.balanced else self._independent_states(random, tiles)
        return states[:, self.tiling.numbers]

    def _independent_states(self, random: np.random.Generator, tiles: int) -> States:
        hidden = random.random((self.block_size, tiles)) >= self.keep
        fill = random.integers(1, self.fills + 1, hidden.shape, dtype=np.uint8)
        return np.where(hidden, fill, np.uint8(0))


def _hadamard_states(random: np.random.Generator, tiles: int) -> States:
    """Return `[2m, tiles]` states in which every tile is kept in exactly half and every two are uncorrelated.

    Columns of a Hadamard matrix of order m in random order and with random signs, stacked on its negative: the fold
    cancels interactions of pairs of tiles.
    """
    order = hadamard_order(tiles)
    columns = random.permutation(order)[:tiles]
    signs = random.integers(0, 2, tiles, dtype=np.uint8)
    half = (hadamard_matrix(order)[:, columns] < 0) ^ signs  # 1 hides
    return np.concatenate([half, 1 - half]).astype(np.uint8)


def sample_independently(design: MaskDesign, block: int, masks: int) -> tuple[States, NDArray[np.int64]]:
    """Sample masks as the published methods do: every cell and every shift independent.

    Returns:
        States `[masks, h, w]`, and two uniform numbers per mask scaled to 0..2^31, `[masks, 2]`, from which the caller
        takes shifts by `value * cell >> 31`.
    """
    random = np.random.Generator(np.random.Philox(key=[design.seed, block]))
    hidden = random.random((masks, *design.grid)) >= design.keep
    fill = random.integers(1, design.fills + 1, hidden.shape, dtype=np.uint8)
    return np.where(hidden, fill, np.uint8(0)), random.integers(0, 2**31, (masks, 2), dtype=np.int64)
