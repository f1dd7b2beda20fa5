"""Running mean and spread of block maps, and what follows from them: squared error and reliability.

Block maps are independent given the design: their mean is the map, their spread gives the error bars. Accumulated by
Welford's recurrence in one pass and constant memory.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BLOCKS_FOR_ERROR_BARS = 2

ROUNDING = 1e-9
"""Effects below this are those of rounding: a map of nothing else is flat."""


@dataclass
class RunningMoments:
    """Count, mean and summed squared deviation of maps that come one by one.

    Attributes:
        count: maps seen.
        mean: `[T, ...]`; None before the first.
        deviation: `[T, ...]`, sum of squared deviations from the mean; None before the first.
    """

    count: int = 0
    mean: NDArray[np.float64] | None = None
    deviation: NDArray[np.float64] | None = None

    def add(self, block_map: Array) -> None:
        """Take in the map of one more block, `[T, ...]`."""
        if self.mean is None or self.deviation is None:
            self.mean, self.deviation = np.zeros(block_map.shape), np.zeros(block_map.shape)
        self.count += 1
        step = block_map - self.mean
        self.mean += step / self.count
        self.deviation += step * (block_map - self.mean)

    def of_target(self, target: int) -> "RunningMoments":
        """Return the moments of one target's maps, `[1, ...]`."""
        if self.mean is None or self.deviation is None:
            return RunningMoments()
        part = slice(target, target + 1)
        return RunningMoments(self.count, self.mean[part], self.deviation[part])

    def squared_error(self) -> NDArray[np.float64] | None:
        """Return the squared standard error of the mean pixel by pixel, `[T, ...]`; None before there are two blocks.

        Of few blocks it is itself uncertain: `error_bars.standard_error` pools it over neighbours.
        """
        if self.deviation is None or self.count < BLOCKS_FOR_ERROR_BARS:
            return None
        return self.deviation / (self.count - 1) / self.count

    def reliability(self) -> list[float] | None:
        """Return per target the expected correlation of the mean with the fully converged map, 0..1.

        sqrt(1 - mean(SE^2) / Var_pixels(map)). A map without any variation, as of a constant model, correlates with
        nothing: 0. None before there are two blocks.
        """
        squared = self.squared_error()
        if squared is None or self.mean is None:
            return None
        return [_reliability(*of_target) for of_target in zip(self.mean, squared, strict=True)]


def _reliability(mean: NDArray[np.float64], squared_error: NDArray[np.float64]) -> float:
    noise, spread = float(squared_error.mean()), float(mean.var())
    return math.sqrt(max(0.0, 1 - noise / spread)) if spread > ROUNDING**2 else 0.0
