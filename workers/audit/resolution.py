"""How fine the map is: does it predict the scores of masks with cells of half the side?

The additive model (`workers/saliency/additive_fit.py`) is fitted to the explanation's first blocks and predicts the
scores of independent masks with twice as many cells along each side. A map whose cells are small enough predicts them
as well as masks of its own cells. Where finer masks hardly change the score there is nothing to predict.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.saliency.geometry import Canvas
from workers.audit.asking import PictureAsker
from workers.audit.plan import HALF_CELL_MASKS
from workers.explainer.plan import ExplanationPlan
from workers.saliency.additive_fit import FittedBlock, predictions_elsewhere
from workers.saliency.estimators import Block, block_weights
from workers.saliency.masks import blend, one_hot_states, render
from workers.saliency.sampling import MaskDesign, sample_independently
from workers.saliency.score_moments import VARIANCE

Numbers = NDArray[np.float64]

_LEAST_VARIANCE = 1e-12  # of scores of about 1 that differ by rounding in float32, and of differences of these


@dataclass(frozen=True)
class HalfCellFit:
    """How well the map predicts finer masks.

    Attributes:
        r2: per target, at most 1; NaN where finer masks do not change the score.
        variance: of the scores under finer masks, over that under the explanation's masks, per target; NaN where that
            is not known.
    """

    r2: Numbers
    variance: Numbers


def half_cell_fit(plan: ExplanationPlan, blocks: list[Block], asker: PictureAsker) -> HalfCellFit:
    """Return how well blocks of an explanation predict the scores of masks of half the cell.

    Args:
        plan: of the explanation.
        blocks: its first ones.
        asker: of its model.
    """
    canvas, rows = plan.problem.canvas, plan.resolved.target_rows
    finer = replace(canvas, grid=(2 * canvas.grid[0], 2 * canvas.grid[1]), refined=None)
    hidden, _ = sample_independently(MaskDesign(finer.grid, plan.design.keep, 1, plan.design.seed), 0, HALF_CELL_MASKS)
    states = torch.from_numpy(hidden)
    scores = asker.scores(len(hidden), lambda start, stop: _masked(plan, finer, states[start:stop]))
    fitted = [FittedBlock(block.index, block.effects[rows].astype(np.float64), np.zeros((0, 0))) for block in blocks]
    visible = (hidden == 0).reshape(len(hidden), -1).astype(np.float64)
    centred = scores - scores.mean(0)
    errors = [_error(centred, visible, effects) for effects in predictions_elsewhere(canvas, fitted, finer)]
    total = (centred**2).mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(total > _LEAST_VARIANCE, 1 - np.min(errors, axis=0) / total, np.nan)
        return HalfCellFit(r2, np.asarray(total / _own_variance(blocks, rows)))


def _masked(plan: ExplanationPlan, finer: Canvas, states: Tensor) -> Tensor:
    problem = replace(plan.problem, canvas=finer)
    hidden = one_hot_states(states.to(problem.image.device), 1)
    masks = render(hidden, *block_weights(problem, 0))
    out = problem.image.new_empty((len(states), *problem.image.shape))
    return blend(problem.image, problem.fills - problem.image, masks, out=out)


def _error(centred: Numbers, visible: Numbers, effects: Numbers) -> Numbers:
    predicted = visible @ effects.reshape(len(effects), -1).T
    return np.asarray(((centred - predicted + predicted.mean(0)) ** 2).mean(0))


def _own_variance(blocks: list[Block], rows: list[int]) -> Numbers:
    known = [block.moments[rows, VARIANCE] for block in blocks if block.moments is not None]
    return np.asarray(np.mean(known, axis=0, dtype=np.float64)) if known else np.full(len(rows), np.nan)
