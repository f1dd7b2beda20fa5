"""The effect of each cell on the score: one least-squares fit per block, for all targets at once.

Within a block the scores are regressed on the states of all cells together. That removes the variance due to other
cells, which is the gain over averaging masks. For a Hadamard block the fit is one small product; otherwise it is
one small solve with a trace of ridge.
"""

import torch
from torch import Tensor

RIDGE = 1e-4
"""Of the mean diagonal of a block's normal equations."""


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
