"""How converged an explanation is: reliability per target, from block maps drawn coarsely.

Maps are smooth between cells, so 64 pixels along the longer side say the same as the full canvas and cost nothing.
"""

import numpy as np
from numpy.typing import NDArray

from app.contract.geometry import Frame, Pen, frame_of_canvas, resampled
from app.contract.moments import Moments
from workers.saliency.loop import Block
from workers.study import Study

_COARSE_SIDE = 64


class Convergence:
    """Takes in blocks one by one and says how reliable their mean is."""

    def __init__(self, study: Study) -> None:
        canvas = study.scene.canvas
        self._published = study.parameters.estimator == "paper"
        self._until = study.parameters.until
        self._rows = study.aim.target_rows
        self._whole = Frame(canvas.height, canvas.width, canvas.view)
        self._coarse = frame_of_canvas(canvas, max_side=_COARSE_SIDE)
        self._pen = Pen(canvas, self._coarse)
        self._moments = Moments()
        self._matched: NDArray[np.float64] | float = 0.0

    def add(self, block: Block) -> None:
        """Take in one more block."""
        effects = block.effects[self._rows]
        drawn = (
            resampled(effects, self._whole, self._coarse) if self._published else self._pen.block(effects, block.index)
        )
        self._moments.add(drawn)
        self._matched = self._matched + (block.matched[self._rows] - self._matched) / self._moments.count

    @property
    def blocks(self) -> int:
        """Blocks taken in."""
        return self._moments.count

    def reliability(self) -> list[float] | None:
        """Return the reliability of each target; None before there are enough blocks to say."""
        return self._moments.reliability()

    def matched(self) -> list[float]:
        """Return per target the share of masked images in which anything was left of it."""
        return [float(share) for share in np.atleast_1d(self._matched)]

    def reached(self) -> bool:
        """Return whether every target is as reliable as asked; `until: 1` asks for all masks."""
        reliability = self.reliability()
        return self._until < 1 and reliability is not None and min(reliability) >= self._until

    def peaks(self) -> list[tuple[float, float]]:
        """Return x, y of each target's largest effect, in pixels of the image, to the coarse map's resolution."""
        assert self._moments.mean is not None
        x0, y0, x1, y1 = self._coarse.view
        peaks = []
        for target in self._moments.mean:
            strongest = np.abs(target).max(0) if len(target) > 1 else target[0]
            row, column = np.unravel_index(int(strongest.argmax()), strongest.shape)
            x = x0 + (column + 0.5) * (x1 - x0) / self._coarse.width
            y = y0 + (row + 0.5) * (y1 - y0) / self._coarse.height
            peaks.append((float(x), float(y)))
        return peaks
