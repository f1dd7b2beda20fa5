"""How converged an explanation is: reliability per target, from block maps drawn coarsely.

Maps are smooth between cells, so 64 pixels along the longer side say the same as the full canvas and cost nothing.
"""

import math

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.error_bars import standard_error
from app.contract.saliency.geometry import BlockRenderer, Viewport, resampled, viewport_of_canvas
from app.contract.saliency.running_moments import ROUNDING, RunningMoments
from app.contract.saliency.wiener_filter import wiener_shrink
from workers.explainer.effect_sentences import Finding, strongest_effects
from workers.explainer.plan import ExplanationPlan
from workers.saliency.block_statistics import BlockStatistics
from workers.saliency.estimators import Block

_COARSE_SIDE = 64


class Convergence:
    """The mean of the blocks so far, and how reliable it is.

    Attributes:
        statistics: what else the blocks say; None for the published estimator.
    """

    def __init__(self, plan: ExplanationPlan) -> None:
        canvas = plan.problem.canvas
        self._published = plan.parameters.estimator == "paper"
        self._shrinks = plan.shrinks
        self._until = plan.parameters.until
        self._turns = max(1, len(plan.problem.turns))
        self._rows = plan.resolved.target_rows
        self._sign = plan.method.published_scale(plan.parameters, 1)
        self._tiling = canvas.tiling
        self._whole = Viewport(canvas.height, canvas.width, canvas.view)
        self._coarse = viewport_of_canvas(canvas, max_side=_COARSE_SIDE)
        self._renderer = BlockRenderer(canvas, self._coarse)
        self._moments = RunningMoments()
        self.statistics = None if self._published else BlockStatistics(canvas, plan.design, len(self._rows))
        self._matched: NDArray[np.float64] | float = 0.0

    def add(self, block: Block) -> None:
        """Add one more block."""
        effects = block.effects[self._rows]
        if self._published:
            self._moments.add(resampled(effects, self._whole, self._coarse))
        else:
            self._moments.add(self._renderer.block(effects, block.index))
        if self.statistics is not None:
            self.statistics.add(block.index, effects, None if block.moments is None else block.moments[self._rows])
        self._matched = self._matched + (block.matched[self._rows] - self._matched) / self._moments.count

    @property
    def blocks(self) -> int:
        """Blocks added."""
        return self._moments.count

    def reliability(self) -> list[float] | None:
        """Return the reliability of each target; None before there are two blocks."""
        if not self._shrinks or self._moments.mean is None:
            return self._moments.reliability()
        return wiener_shrink(self._moments, self._tiling)[1]

    def matched(self) -> list[float]:
        """Return per target the share of masked images in which anything was left of it."""
        return [float(share) for share in np.atleast_1d(self._matched)]

    def flat(self) -> list[bool]:
        """Return per target whether hiding parts of the image has not changed its score at all."""
        return [bool(np.abs(effects).max() < ROUNDING) for effects in self._mean(self._moments)]

    def reached(self) -> bool:
        """Return whether every target is as reliable as asked, or flat; `until: 1` asks for all masks.

        Fills that take turns have had as many blocks each.
        """
        reliability = self.reliability()
        if self._until >= 1 or reliability is None or self.blocks % self._turns:
            return False
        return all(flat or value >= self._until for flat, value in zip(self.flat(), reliability, strict=True))

    def estimated_blocks_needed(self, most: int) -> int:
        """Return the number of blocks after which it is likely to be reached, `most` where there is no estimate yet.

        With r the reliability after n blocks and u the one that is asked for, n (1 - r^2) / r^2 * u^2 / (1 - u^2):
        the standard error falls with the root of n, and what is left of the map's variation stays.
        """
        reliability = self.reliability()
        if self._until >= 1 or reliability is None or min(reliability) <= 0:
            return most
        reached, wanted = min(reliability) ** 2, self._until**2
        return min(most, math.ceil(self.blocks * (1 - reached) / reached * wanted / (1 - wanted)))

    def effects(self, target: int) -> list[Finding]:
        """Return what hiding the strongest place of each fill does to a target, to the coarse map's resolution."""
        moments = self._moments.of_target(target)
        error = standard_error(moments, self._tiling)
        return strongest_effects(self._mean(moments)[0], None if error is None else error[0], self._coarse)

    def peak(self, target: int) -> tuple[float, float]:
        """Return x, y where a target's map is largest, in pixels of the image; of several fills the strongest place."""
        mean = self._mean(self._moments.of_target(target))[0]
        if len(mean) == 1 and (mean * self._sign > 0).any():
            mean = np.maximum(mean * np.sign(self._sign), 0)
        strongest = max(strongest_effects(mean, None, self._coarse), key=lambda effect: abs(effect.change))
        return strongest.x, strongest.y

    def _mean(self, moments: RunningMoments) -> NDArray[np.float64]:
        if moments.mean is None:
            raise ValueError("there is no block yet")
        return wiener_shrink(moments, self._tiling)[0] if self._shrinks else moments.mean
