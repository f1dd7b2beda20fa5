"""A cheap stand-in for a model: its score as a smooth step of a weighted sum of what is visible.

Fitted to masks and scores that are there anyway, `a + b * sigmoid(bias + sum over places of weight * visibility)` knows
what a straight line does not: that a score saturates, and that parts replace each other. Used as a control variate:
its own cell effects are computed from masks that no model sees, and blocks only have to measure what is left.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from app.contract.saliency.geometry import Canvas
from workers.saliency.sampling import MaskDesign

_STEPS = 60
_PATCHES = 16  # along each side
_OWN_BLOCKS = 16  # of masks that only the stand-in sees
_OWN_SEED = 4242


@dataclass(frozen=True)
class Surrogate:
    """A fitted stand-in.

    Attributes:
        weights: of each place, `[16, 16]`.
        bias: of the sum.
        low: score where the sum is very negative.
        height: how far the score can rise.
    """

    weights: Tensor
    bias: Tensor
    low: Tensor
    height: Tensor

    def scores(self, visible: Tensor, places: Tensor) -> Tensor:
        """Return scores `[N]` of cells `[N, h*w]` whose visibility at each place is `visible @ places`."""
        return self.low + self.height * torch.sigmoid(self.bias + visible @ (places @ self.weights.flatten()))


def places_of(canvas: Canvas, shift: tuple[int, int]) -> Tensor:
    """Return how much each cell shows of each place at one shift, `[h*w, 256]`."""
    sides = []
    for axis, offset in zip(canvas.axes, shift, strict=True):
        parts = np.array_split(axis.rows(offset), _PATCHES)
        sides.append(torch.from_numpy(np.stack([part.mean(0) for part in parts])))
    return torch.kron(sides[0].T.contiguous(), sides[1].T.contiguous())


def fitted(parts: list[tuple[Tensor, Tensor, Tensor]], ridge: float = 3e-4) -> Surrogate:
    """Fit a stand-in by least squares, with a preference for small and smooth weights.

    Args:
        parts: visible cells `[N, h*w]`, `places` of their shift, and scores `[N]`, block by block.
        ridge: how strong the preference is.
    """
    seen = torch.cat([visible @ places for visible, places, _ in parts])
    y = torch.cat([scores for *_, scores in parts])
    low, height = y.min(), (y.max() - y.min()).clamp(min=1e-6)
    free = [torch.zeros(_PATCHES, _PATCHES), torch.zeros(()), torch.zeros(()), torch.ones(())]
    for value in free:
        value.requires_grad_()
    optimiser = torch.optim.LBFGS(
        free, max_iter=_STEPS, max_eval=2 * _STEPS, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        weights, bias, base, rise = free
        shown = base + rise * torch.sigmoid(bias + seen @ weights.flatten())
        rough = weights.diff(dim=0).square().sum() + weights.diff(dim=1).square().sum()
        penalty = ridge * (0.1 * weights.square().sum() + rough)
        total: Tensor = ((y - low) / height - shown).square().mean() + penalty / len(y) * 100
        total.backward()  # type: ignore[no-untyped-call]  # because torch has not typed it
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    weights, bias, base, rise = (value.detach() for value in free)
    return Surrogate(weights, bias, low + height * base, height * rise)


def own_effects(surrogate: Surrogate, grid: tuple[int, int], places: Tensor) -> Tensor:
    """Return the stand-in's cell effects `[h*w]` at one shift, from many masks that no model sees."""
    visible = _own_masks(grid)
    return matched(visible, surrogate.scores(visible, places))


@lru_cache(maxsize=2)
def _own_masks(grid: tuple[int, int]) -> Tensor:
    design = MaskDesign(grid, 0.5, 1, _OWN_SEED)
    states = np.concatenate([design.sample(block) for block in range(_OWN_BLOCKS)])
    return 1 - torch.from_numpy(states).float().flatten(1)


def matched(visible: Tensor, scores: Tensor) -> Tensor:
    """Return the mean score with a cell visible minus the mean with it hidden, `[h*w]`, for balanced masks."""
    signs = 2 * visible - 1
    return signs.T @ (scores - scores.mean()) * (2 / len(scores))
