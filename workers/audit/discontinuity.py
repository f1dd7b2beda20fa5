"""Whether scores jump: the largest change of the log-odds of any class within a five-thousandth of a path.

Each path is asked in eight steps. The steps with the largest changes, of all paths, are then halved ten times, each
time keeping the halves with the larger change, ever fewer of them. Of a score that changes smoothly nothing is left, of
one that jumps the whole jump. Classes that are not explained count, too: where a model turns to another one, the
explained class may happen to have the same score in both.

Paths to masked images say whether a model reacts to masks by a threshold; paths to natural changes whether it jumps
anyway, as cascades and integer arithmetic do. The same gate is the attack of Slack et al. (AIES 2020) on LIME and SHAP;
that jumps give it away is measured in `bench/RESULTS.md`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.audit.asking import Answers, Draw, PictureAsker
from workers.audit.paths import Path

_STEPS = 8
_HALVED = (1.5, 1, 0.75, 0.5, 0.5, 0, 0, 0, 0, 0)  # steps per path, of each halving
_LEFT = 3  # steps in any case, because one of them may be the first of its path
_LEAST, _MOST = 1e-3, 0.95  # what a probability is clamped to: rounding near 1 is a jump of log-odds


@dataclass(frozen=True)
class Jumps:
    """What is left of the steps that were halved to the last, S of them.

    Attributes:
        sizes: jump of the log-odds of any class in each, `[S]`.
        of_targets: of each target in the same places, the largest of all steps, `[T]`.
        places: where on its path each is, 0..1, `[S]`.
        moved: largest change of the log-odds of any class from the image to another picture of the paths.
    """

    sizes: NDArray[np.float64]
    of_targets: NDArray[np.float64]
    places: NDArray[np.float64]
    moved: float

    @property
    def largest(self) -> float:
        """The largest jump of all."""
        return float(self.sizes.max())

    @property
    def largest_beyond_start(self) -> float:
        """The largest jump that is none from the image itself: a model that knows the exact image jumps there."""
        return float(self.sizes[self.places > 0].max(initial=0))


@dataclass(frozen=True)
class _Steps:
    """Steps of paths: which path, where each begins and ends, and the log-odds `[S, R]` there."""

    paths: NDArray[np.intp]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    below: NDArray[np.float64]
    above: NDArray[np.float64]

    @property
    def changes(self) -> NDArray[np.float64]:
        return np.abs(self.above - self.below)

    def largest(self, count: int) -> "_Steps":
        """Return those with the largest change of any class."""
        rows = np.argsort(-self.changes.max(1), kind="stable")[:count]
        return _Steps(self.paths[rows], self.low[rows], self.high[rows], self.below[rows], self.above[rows])

    def halves(self, between: NDArray[np.float64]) -> "_Steps":
        """Return of each step the half with the larger change, given the log-odds `[S, R]` in the middle."""
        middle = (self.low + self.high) / 2
        is_lower = np.abs(between - self.below).max(1) >= np.abs(self.above - between).max(1)
        return _Steps(
            self.paths,
            np.where(is_lower, self.low, middle),
            np.where(is_lower, middle, self.high),
            np.where(is_lower[:, None], self.below, between),
            np.where(is_lower[:, None], between, self.above),
        )


def find_jumps(
    asker: PictureAsker, image: Tensor, paths: Sequence[Path], at_start: Answers | None
) -> tuple[Jumps, Answers]:
    """Return the jumps on paths from an image, and the answer `[R]` to the image itself among the others.

    Args:
        asker: of the model.
        image: `[3, H, W]`.
        paths: from the image.
        at_start: the answer to the image, `[R]`; None asks for it.
    """
    steps, start = _first_steps(asker, image, paths, at_start)
    moved = float(np.abs(steps.above - _log_odds(start)).max())
    for share in _HALVED:
        steps = steps.largest(max(_LEFT, round(share * len(paths))))
        middle = (steps.low + steps.high) / 2
        steps = steps.halves(_log_odds(asker.all_probabilities(len(middle), _on_paths(paths, steps.paths, middle))))
    return Jumps(steps.changes.max(1), steps.changes.max(0)[asker.target_rows], steps.low, moved), start


def _first_steps(
    asker: PictureAsker, image: Tensor, paths: Sequence[Path], at_start: Answers | None
) -> tuple[_Steps, Answers]:
    places = np.linspace(0, 1, _STEPS + 1)
    numbers = np.repeat(np.arange(len(paths)), _STEPS)
    drawn = _on_paths(paths, numbers, np.tile(places[1:], len(paths)))
    offset = int(at_start is None)

    def draw(start: int, stop: int) -> Tensor:
        rest = drawn(max(start - offset, 0), stop - offset)
        return torch.cat([image[None], rest]) if start < offset else rest

    answers = asker.all_probabilities(offset + len(numbers), draw)
    start = answers[0] if at_start is None else at_start
    steps = _log_odds(answers[offset:].reshape(len(paths), _STEPS, -1))
    first = np.broadcast_to(_log_odds(start), (len(paths), 1, len(start)))
    below = np.concatenate([first, steps[:, :-1]], axis=1)
    low, high = np.tile(places[:-1], len(paths)), np.tile(places[1:], len(paths))
    return _Steps(numbers, low, high, below.reshape(len(numbers), -1), steps.reshape(len(numbers), -1)), start


def _on_paths(paths: Sequence[Path], numbers: NDArray[np.intp], places: NDArray[np.float64]) -> Draw:
    """Return the pictures at some places of some paths."""
    return lambda *part: torch.stack([paths[numbers[each]](float(places[each])) for each in range(*part)])


def _log_odds(probabilities: Answers) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(probabilities, _LEAST)) - np.log(1 - np.minimum(probabilities, _MOST)))
