"""The effect of each cell on the score: one least-squares fit per block, for all targets at once.

Within a block the scores are regressed on the states of all tiles together. That removes the variance due to other
tiles, which is the gain over averaging masks. For a Hadamard block the fit is one small product; otherwise it is
one small solve with a trace of ridge. A tile that has several cells gives each the same share of its effect.
"""

from functools import lru_cache

import torch
from torch import Tensor

from app.contract.saliency.tiling import Tiling

RIDGE = 1e-4
"""Of the mean diagonal of a block's normal equations."""


def effects_of_cells(scores: Tensor, hidden: Tensor, tiling: Tiling, *, balanced: bool) -> Tensor:
    """Fit a block.

    Args:
        scores: `[N, R]`, float32.
        hidden: `[K, N, h, w]` of 0 and 1.
        tiling: which cells are hidden together.
        balanced: whether it is a Hadamard block.

    Returns:
        Change of the score when a cell that fill k hid becomes visible, `[R, K, h, w]`.
    """
    fit = hadamard_effects if balanced else ridge_effects
    if tiling.is_uniform:
        return fit(scores, hidden)
    first, sizes, numbers = _tiles_on(scores.device, tiling)
    of_tiles = fit(scores, hidden.flatten(2)[..., first].unsqueeze(2))
    return (of_tiles[:, :, 0] / sizes)[..., numbers]


@lru_cache(maxsize=16)
def _tiles_on(device: torch.device, tiling: Tiling) -> tuple[Tensor, Tensor, Tensor]:
    """Return the first cell and the number of cells of each tile, and each cell's tile; kept, because copies wait."""
    arrays = (tiling.first_cells, tiling.sizes, tiling.numbers)
    first, sizes, numbers = (torch.from_numpy(array).to(device) for array in arrays)
    return first, sizes, numbers


def hadamard_effects(scores: Tensor, hidden: Tensor) -> Tensor:
    """Fit a Hadamard block.

    Args:
        scores: `[N, R]`, float32.
        hidden: `[1, N, h, w]` of 0 and 1, every cell 1 in exactly half, every two cells uncorrelated.

    Returns:
        Change of the score when a cell becomes visible, `[R, 1, h, w]`.
    """
    signs = 1 - 2 * hidden[0].flatten(1)  # +1 visible, -1 hidden
    centred = scores - scores.mean(0)
    effects: Tensor = centred.T @ signs * (2 / len(scores))
    return effects.reshape(-1, 1, *hidden.shape[2:])


def ridge_effects(scores: Tensor, hidden: Tensor) -> Tensor:
    """Fit a block of independent states, by ridge regression on all cells and fills.

    Args:
        scores: `[N, R]`, float32.
        hidden: `[K, N, h, w]` of 0 and 1.

    Returns:
        Change of the score when a cell that fill k hid becomes visible, `[R, K, h, w]`.
    """
    fills, _, *grid = hidden.shape
    unknowns = hidden.permute(1, 0, 2, 3).flatten(1)
    centred = unknowns - unknowns.mean(0)
    gram = centred.T @ centred
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    painted = torch.linalg.solve(gram, centred.T @ (scores - scores.mean(0)))
    effects: Tensor = -painted.T.reshape(-1, fills, *grid)
    return effects
