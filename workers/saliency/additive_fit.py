"""Fidelity of the additive model: its R2 on blocks that it was not fitted to.

**The model.** `y(s) = c + sum_x w(x) M_s(x)`: a score is the sum of what its visible pixels are worth. The masks of
block b are `M_s = B_b s` with states s of 1 (visible) and 0, and `B_b = rows_b (x) columns_b` the interpolation weights
at its shift. So the effects of its cells are `e_b = B_b^T w`: the same weights of pixels, seen through the cells of
another shift. Where cells share a tile each has the mean over it; read `B_b` as `B_b P` with that projection below.

**The fit.** To all blocks but one: `min_w sum_b' |e_b' - B_b'^T w|^2`. There are more pixels than effects, so w is
taken from the span of the masks, `w = sum_b' B_b' a_b'`, and pixels never appear: all products are `B_b^T B_b'`, of
two small matrices each. The problem is ill-conditioned and the effects are noisy, so it is solved by conjugate
gradients for least squares (CGLS; Hestenes and Stiefel, Journal of Research of the NBS 49, 1952), ended early, which
regularises: the first step is proportional to the mean of the other blocks' maps, averaged over each cell of this
shift; later ones undo what rendering and averaging smear. The step is that with the least error over all left-out
blocks, from the first on.

**The error.** With g the block's states, `G` their covariance, and `e'` what the fit predicts for its cells, the mean
squared error over its masks is

    mean((y - y')^2) = (mean(y) - c')^2 + Var(y) - 2 e'^T Cov(g, y) + e'^T G e'

with c' the mean of the other blocks' means (all at the expected states, from which the states of blocks that are no
Hadamard designs differ). `Cov(g, y) = (G + ridge) e_b`, because `e_b` solves just that regression.
So the scores themselves need not be kept: mean and variance of each block do. In a Hadamard block `G = 1/4`. States
are those of tiles here, and a tile's effect is the sum of its cells'.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from app.contract.saliency.geometry import Canvas
from workers.saliency.masks import one_hot_states
from workers.saliency.regression import RIDGE
from workers.saliency.sampling import MaskDesign
from workers.saliency.score_moments import MEAN, VARIANCE

Numbers = NDArray[np.float64]

_MAX_STEPS = 24
_MAX_BLOCKS = 16
_MAX_NUMBERS = 2**18  # of one step, for all blocks that are left out in turn: 0.2 s on one core


@dataclass(frozen=True)
class FittedBlock:
    """A block as the additive model sees it.

    Attributes:
        index: its number.
        effects: `[T, K, h, w]`, change of the score when a cell becomes visible.
        moments: `[T, 3]`, as `score_moments` returns them.
    """

    index: int
    effects: Numbers
    moments: Numbers


def most_blocks(design: MaskDesign, targets: int) -> int:
    """Return to how many blocks the additive model is fitted at most: its cost grows with their square."""
    numbers = design.cells * design.fills * max(1, targets)
    return min(_MAX_BLOCKS, max(2, int((_MAX_NUMBERS / numbers) ** 0.5)))


def cross_validated_r2(canvas: Canvas, design: MaskDesign, blocks: Sequence[FittedBlock]) -> Numbers:
    """Return per target the R2 of the additive model on blocks that it was not fitted to, `[T]`.

    At most 1; below 0 where the mean of the other blocks predicts better; NaN where the scores are constant.

    Args:
        canvas: of the masks.
        design: of the blocks.
        blocks: at least two.
    """
    sampled = [_SampledBlock(design, block) for block in blocks]
    means = np.stack([block.mean for block in sampled])
    others = (means.sum(0) - means) / (len(blocks) - 1)
    total = np.sum([block.variance for block in sampled], axis=0) + ((means - means.mean(0)) ** 2).sum(0)
    errors = [
        np.sum([block.error(predicted[number]) for number, block in enumerate(sampled)], axis=0)
        for predicted in _predictions(canvas, blocks)
    ]
    least = np.maximum(np.min(errors, axis=0), 0) + ((means - others) ** 2).sum(0)  # rounding may go below 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, 1 - least / total, np.nan))


def predictions_elsewhere(canvas: Canvas, blocks: Sequence[FittedBlock], other: Canvas) -> Iterator[Numbers]:
    """Yield step by step what the fit to all blocks predicts for the effects of other cells, `[T, K, h', w']`.

    Args:
        canvas: of the blocks' masks.
        blocks: with their effects.
        other: of the same pixels with other cells, at its first shift.
    """
    products = _Products(canvas, [block.index for block in blocks])
    towards = [_between(other, 0, canvas, block.index) for block in blocks]
    residual = np.stack([block.effects for block in blocks])[None]
    gradient = products.apply(residual)
    direction, image = residual, gradient
    power = _inner(residual, gradient)
    predicted: Numbers = np.zeros(())
    for _ in range(_MAX_STEPS):
        step = _ratio(power, _inner(image, image))
        shown = (step * direction)[0]
        predicted = predicted + np.sum(
            [down @ of_block @ across for of_block, (down, across) in zip(shown, towards, strict=True)], axis=0
        )
        yield predicted
        residual = residual - step * image
        gradient = products.apply(residual)
        earlier, power = power, _inner(residual, gradient)
        along = _ratio(power, earlier)
        direction, image = residual + along * direction, gradient + along * image


def _between(first: Canvas, shift: int, second: Canvas, other_shift: int) -> tuple[Numbers, Numbers]:
    """Return what takes cells of a block of one canvas to those of another, `[h, h']` and `[w', w]`: both sides."""
    sides = zip(first.axes, first.shift(shift), second.axes, second.shift(other_shift), strict=True)
    down, across = (
        one.rows(dy).astype(np.float64).T @ two.rows(other).astype(np.float64) / two.cell
        for one, dy, two, other in sides
    )
    return down, across.T


class _SampledBlock:
    """A block with the moments of its states.

    Args:
        design: of the block.
        block: with its effects.

    Attributes:
        mean: of the scores at the expected states, `[T]`.
        variance: of the scores, `[T]`.
    """

    def __init__(self, design: MaskDesign, block: FittedBlock) -> None:
        self._tiling = design.tiling
        self._effects = self._of_tiles(block.effects)
        self.mean, self.variance = block.moments[:, MEAN], block.moments[:, VARIANCE]
        self._matrix: Numbers | None = None
        if not design.balanced:
            hidden = one_hot_states(torch.from_numpy(design.sample(block.index)), design.fills)
            of_tiles = hidden.flatten(2)[..., self._tiling.first_cells]
            states = of_tiles.permute(1, 0, 2).flatten(1).double().numpy()
            self._matrix = np.asarray(np.cov(states, rowvar=False, bias=True)).reshape(states.shape[1], -1)
            self.mean = self.mean + self._effects @ (states.mean(0) - (1 - design.keep) / design.fills)

    def error(self, predicted: Numbers) -> Numbers:
        """Return the mean squared error of centred scores under predicted effects `[T, K, h, w]`, per target."""
        guess = self._of_tiles(predicted)
        if self._matrix is None:
            return np.asarray(self.variance - (guess * self._effects).sum(1) / 2 + (guess**2).sum(1) / 4)
        ridge = RIDGE * self._matrix.diagonal().mean()
        with_scores = self._effects @ self._matrix + ridge * self._effects
        squared = ((guess @ self._matrix) * guess).sum(1)
        return np.asarray(self.variance - 2 * (guess * with_scores).sum(1) + squared)

    def _of_tiles(self, effects: Numbers) -> Numbers:
        totals = self._tiling.totals(effects)
        return totals.reshape(len(totals), -1)


def _predictions(canvas: Canvas, blocks: Sequence[FittedBlock]) -> Iterator[Numbers]:
    """Yield step by step what the fit to all other blocks predicts for the effects of each, `[n, T, K, h, w]`."""
    products = _Products(canvas, [block.index for block in blocks])
    effects = np.stack([block.effects for block in blocks])
    fitted = (1 - np.eye(len(blocks))).reshape(len(blocks), len(blocks), 1, 1, 1, 1)  # [left out, n, ...]
    held_out = np.arange(len(blocks))
    residual = fitted * effects
    gradient = products.apply(residual)
    direction, image = residual, gradient
    power = _inner(residual, gradient)
    predicted = np.zeros_like(effects)
    for _ in range(_MAX_STEPS):
        seen = fitted * image
        step = _ratio(power, _inner(seen, seen))
        predicted = predicted + step[:, 0] * image[held_out, held_out]
        yield predicted
        residual = residual - step * seen
        gradient = products.apply(residual)
        earlier, power = power, _inner(residual, gradient)
        along = _ratio(power, earlier)
        direction, image = residual + along * direction, gradient + along * image


class _Products:
    """Multiplies with `B_b^T B_b'` for all pairs of blocks; effects of cells that share a tile are equal.

    Args:
        canvas: of the masks.
        numbers: of the blocks.
    """

    def __init__(self, canvas: Canvas, numbers: Sequence[int]) -> None:
        self._tiling = canvas.tiling
        shifts = [canvas.shift(number) for number in numbers]
        vertical, horizontal = canvas.axes
        rows = np.stack([vertical.rows(dy) for dy, _ in shifts]).astype(np.float64)
        columns = np.stack([horizontal.rows(dx) for _, dx in shifts]).astype(np.float64)
        self._rows = np.einsum("bpi,cpj->bcij", rows, rows, optimize=True) / vertical.cell
        self._columns = np.einsum("bpi,cpj->bcji", columns, columns, optimize=True) / horizontal.cell

    def apply(self, values: Numbers) -> Numbers:
        """Return `sum_b' B_b^T B_b' values[:, b']` for every b; values are `[F, n, T, K, h, w]`."""
        total = np.zeros_like(values)
        for other in range(values.shape[1]):
            rows, columns = self._rows[:, other, None, None], self._columns[:, other, None, None]
            total += rows @ values[:, other, None] @ columns
        return self._tiling.means(total)


def _inner(one: Numbers, other: Numbers) -> Numbers:
    """Return the inner product of each left-out block, target and fill, in a shape that multiplies values."""
    return np.asarray((one * other).sum((1, 4, 5), keepdims=True))


def _ratio(numerator: Numbers, denominator: Numbers) -> Numbers:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
