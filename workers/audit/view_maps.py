"""How maps of different fills, and of masks that hide less, differ.

With `M_f,b` the map of block b with fill f and `cov` the covariance over pixels,

    C_fg = mean over b != b' of cov(M_f,b, M_g,b')

Products of different blocks only, so the noise of a block, which is independent of that of others, adds no bias. What
depends on the fill is `1 - mean_(f != g) C_fg / mean_f C_ff`: 0 where all fills give the same map, 1 where they have
nothing in common. Maps of two classes are compared likewise, by `C_tc / sqrt(C_tt C_cc)`: effects of all classes of a
classifier are in its blocks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.geometry import BlockRenderer, Viewport, resampled, viewport_of_canvas
from app.contract.saliency.running_moments import ROUNDING
from workers.audit.plan import LOW_OPACITY_VIEW, AuditPlan
from workers.blackbox import Classifier
from workers.saliency.estimators import Block

Maps = NDArray[np.float64]

_COARSE_SIDE = 64  # because maps are smooth between cells
_TOP = 0.1
_LIKELY, _LEAST_PROBABILITY = 5, 0.01  # the most classes that are compared, and the least probability of each


@dataclass(frozen=True)
class FillComparison:
    """Maps of one target with two fills.

    Attributes:
        fills: their names.
        correlation: `C_fg / sqrt(C_ff C_gg)`; None where a map is mostly noise.
        peak_moved: distance of their peaks, in cells.
        overlap: share of the strongest tenth of one that is in that of the other, 0..1.
    """

    fills: tuple[str, str]
    correlation: float | None
    peak_moved: float
    overlap: float


@dataclass(frozen=True)
class FillDependence:
    """How one target's map depends on the fill.

    Attributes:
        value: 0..1; None where maps are flat or mostly noise.
        pairs: of fills.
    """

    value: float | None
    pairs: list[FillComparison]


@dataclass(frozen=True)
class LowOpacityView:
    """One target's map under masks that hide little, beside its own.

    Attributes:
        correlation: over pixels; None where a map is flat.
        peak: x, y of its strongest place, in pixels of the image.
        peak_moved: distance from the peak of the own map, in cells.
    """

    correlation: float | None
    peak: tuple[float, float]
    peak_moved: float


@dataclass(frozen=True)
class GradCamComparison:
    """Grad-CAM of one target beside its own map.

    Attributes:
        correlation: over pixels, with the positive part of the own map, because Grad-CAM has no other; None where one
            of them is flat.
        peak_moved: distance of their peaks, in cells.
    """

    correlation: float | None
    peak_moved: float


@dataclass(frozen=True)
class AlikeClass:
    """Of the likely classes the one whose map is most like that of a target.

    Attributes:
        label: its index.
        name: of it.
        probability: that the model gives it in the image.
        correlation: of the two maps, without the noise of blocks.
    """

    label: int
    name: str
    probability: float
    correlation: float


class ViewMaps:
    """Maps of all views, drawn coarsely.

    Args:
        plan: of the audit.
        blocks: of each view.
    """

    def __init__(self, plan: AuditPlan, blocks: Mapping[str, Sequence[Block]]) -> None:
        canvas = plan.explanation.problem.canvas
        rows = plan.explanation.resolved.target_rows
        self._plan = plan
        self._grid = canvas.grid
        self._frame = viewport_of_canvas(canvas, max_side=_COARSE_SIDE)
        self._renderer = BlockRenderer(canvas, self._frame)
        self._blocks = {name: blocks[name][: plan.blocks_of(name)] for name in plan.views}
        self._maps = {name: self._drawn(name, rows) for name in plan.views}

    def fill_dependence(self, target: int) -> FillDependence:
        """Return how the map of a target depends on the fill."""
        fills = self._plan.fills
        covariance = covariance_between_blocks(np.stack([self._maps[name][:, target] for name in fills]))
        pairs = [
            FillComparison((fills[f], fills[g]), _ratio(covariance, f, g), *self._compared(fills[f], fills[g], target))
            for f, g in combinations(range(len(fills)), 2)
        ]
        return FillDependence(dependence(covariance), pairs)

    def low_opacity(self, target: int) -> LowOpacityView:
        """Return the map of a target under masks that hide little, beside its own."""
        own, other = (self._mean(name, target) for name in (self._plan.own, LOW_OPACITY_VIEW))
        row, column = _peak(other)
        x0, y0, x1, y1 = self._frame.view
        place = (
            x0 + (column + 0.5) * (x1 - x0) / self._frame.width,
            y0 + (row + 0.5) * (y1 - y0) / self._frame.height,
        )
        return LowOpacityView(_correlation(own, other), place, self._distance(own, other))

    def grad_cam(self, target: int, other: NDArray[np.float32]) -> GradCamComparison:
        """Return how Grad-CAM `[h, w]` of a target, which is of the whole canvas, compares with its map."""
        own = self._mean(self._plan.own, target)
        rows, columns = other.shape
        drawn = resampled(other, Viewport(rows, columns, self._frame.view), self._frame).astype(np.float64)
        return GradCamComparison(_correlation(np.maximum(own, 0), drawn), self._distance(own, drawn))

    def most_alike_class(self, target: int) -> AlikeClass | None:
        """Return which of the likely classes has the map that is most like that of a target.

        Returns:
            None where the model is no classifier, or no other class is likely.
        """
        resolved, labels = self._plan.explanation.resolved, self._plan.black_box.labels
        if not isinstance(self._plan.black_box, Classifier):
            return None
        own, unmasked = resolved.target_rows[target], self._plan.explanation.unmasked
        likely = unmasked.topk(min(_LIKELY, len(unmasked))).indices.tolist()
        others = [row for row in likely if row != own and unmasked[row] >= _LEAST_PROBABILITY]
        covariance = covariance_between_blocks(self._drawn(self._plan.own, [own, *others]).swapaxes(0, 1))
        found = [
            AlikeClass(resolved.rows[row], labels[resolved.rows[row]], float(unmasked[row]), correlation)
            for place, row in enumerate(others, start=1)
            if (correlation := _ratio(covariance, 0, place)) is not None
        ]
        return max(found, key=lambda each: each.correlation, default=None)

    def _drawn(self, view: str, rows: list[int]) -> Maps:
        """Return the maps of some rows in all blocks of a view, `[b, R, H, W]`."""
        drawn = [self._renderer.block(block.effects[rows, 0], block.index) for block in self._blocks[view]]
        return np.stack(drawn).astype(np.float64)

    def _mean(self, view: str, target: int) -> Maps:
        return np.asarray(self._maps[view][:, target].mean(0))

    def _compared(self, one: str, other: str, target: int) -> tuple[float, float]:
        first, second = self._mean(one, target), self._mean(other, target)
        count = max(1, int(_TOP * first.size))
        tops = [set(np.argsort(values.ravel(), kind="stable")[-count:].tolist()) for values in (first, second)]
        return self._distance(first, second), len(tops[0] & tops[1]) / count

    def _distance(self, one: Maps, other: Maps) -> float:
        """Return how far the peaks of two maps are from each other, in cells."""
        shape = self._frame.height, self._frame.width
        sides = zip(_peak(one), _peak(other), self._grid, shape, strict=True)
        return math.hypot(*((first - second) * cells / length for first, second, cells, length in sides))


def covariance_between_blocks(maps: Maps) -> Maps:
    """Return `C`, `[F, F]`.

    Args:
        maps: of each fill, or class, and block, `[F, b, H, W]`, at least two blocks.
    """
    centred = (maps - maps.mean((2, 3), keepdims=True)).reshape(*maps.shape[:2], -1)
    of_blocks = np.einsum("fbp,gcp->bcfg", centred, centred) / centred.shape[2]
    return np.asarray(np.mean([of_blocks[b, c] for b, c in permutations(range(maps.shape[1]), 2)], axis=0))


def dependence(covariance: Maps) -> float | None:
    """Return `1 - mean_(f != g) C_fg / mean_f C_ff`, within 0..1; None where maps are flat or mostly noise."""
    own = covariance.diagonal().mean()
    if own <= ROUNDING**2:
        return None
    fills = len(covariance)
    shared = (covariance.sum() - covariance.diagonal().sum()) / (fills * (fills - 1))
    return float(np.clip(1 - shared / own, 0, 1))


def _ratio(covariance: Maps, f: int, g: int) -> float | None:
    if min(covariance[f, f], covariance[g, g]) <= ROUNDING**2:
        return None
    return float(np.clip(covariance[f, g] / np.sqrt(covariance[f, f] * covariance[g, g]), -1, 1))


def _correlation(one: Maps, other: Maps) -> float | None:
    """Return the correlation of two maps; None where one is flat."""
    if min(float(one.std()), float(other.std())) <= ROUNDING:
        return None
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _peak(values: Maps) -> tuple[int, int]:
    row, column = np.unravel_index(int(np.argmax(values)), values.shape)
    return int(row), int(column)
