"""Whether scores jump: the largest change of the log-odds of any class within a four-thousandth of a path.

Each path is asked in four steps. The one with the largest change is then halved again and again, each time keeping the
half with the larger change. Of a score that changes smoothly nothing is left, of one that jumps the whole jump. Where a
jump may be smaller than a smooth change elsewhere, the step that is most unlike its neighbours is followed, too.
Classes that are not explained count: where a model turns to another one, the explained class may happen to have the
same score in both.

Paths to masked images say whether a model reacts to masks by a threshold; paths to natural changes whether it jumps
anyway, as cascades and integer arithmetic do. The same gate is the attack of Slack et al. (AIES 2020) on LIME and SHAP;
that jumps give it away is measured in `bench/RESULTS.md`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.audit.asking import Answers, Draw, PictureAsker
from workers.audit.paths import Path

_STEPS = 4
_HALVED = 10  # times
_TWICE = 2  # of these, where two steps of each path are: of network gates it finds 143 of 168 jumps, one step 120
_LEAST, _MOST = 1e-3, 0.95  # what a probability is clamped to: rounding near 1 is a jump of log-odds


@dataclass(frozen=True)
class Jumps:
    """What is left of one step of each of P paths.

    Attributes:
        sizes: jump of the log-odds of any class, `[P]`.
        of_targets: of each target in the same places, the largest of all paths, `[T]`.
        places: where on its path each is, 0..1, `[P]`.
        moved: largest change of the log-odds of any class from the image to another picture of the path, `[P]`.
    """

    sizes: NDArray[np.float64]
    of_targets: NDArray[np.float64]
    places: NDArray[np.float64]
    moved: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """The largest jump of all."""
        return float(self.sizes.max())

    @property
    def largest_beyond_start(self) -> float:
        """The largest jump that is none from the image itself: a model that knows the exact image jumps there."""
        return float(self.sizes[self.places > 0].max(initial=0))

    def above(self, threshold: float) -> tuple[int, int]:
        """Return on how many paths there is a jump above a threshold, of those that move log-odds by more than it."""
        jumps = self.sizes > threshold
        return int(jumps.sum()), int((jumps | (self.moved > threshold)).sum())


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

    def at(self, rows: NDArray[np.intp]) -> "_Steps":
        """Return some of them."""
        return _Steps(self.paths[rows], self.low[rows], self.high[rows], self.below[rows], self.above[rows])

    def largest(self) -> NDArray[np.intp]:
        """Return of each path the row with the largest change of any class; all have as many, one after the other."""
        return _largest_of_paths(self.changes.max(1), self.paths)

    def unlike_neighbours(self, but: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return of each path the row with the change most unlike those before and after, but for one row of each."""
        changes = (self.above - self.below).reshape(-1, _STEPS, self.above.shape[1])
        beside = np.concatenate([changes[:, 1:2], (changes[:, :-2] + changes[:, 2:]) / 2, changes[:, -2:-1]], axis=1)
        unlike = np.abs(changes - beside).max(2).ravel()
        unlike[but] = -1
        return _largest_of_paths(unlike, self.paths)

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
    asker: PictureAsker, image: Tensor, paths: Sequence[Path], at_start: Answers | None, *, twice: bool
) -> tuple[Jumps, Answers]:
    """Return the jumps on paths from an image, and the answer `[R]` to the image itself among the others.

    Args:
        asker: of the model.
        image: `[3, H, W]`.
        paths: from the image.
        at_start: the answer to the image, `[R]`; None asks for it.
        twice: whether two steps of each path are followed at first: 16 pictures per path instead of 14.
    """
    steps, start = _first_steps(asker, image, paths, at_start)
    moved = np.abs(steps.above - _log_odds(start)).reshape(len(paths), -1).max(1)
    largest = steps.largest()
    steps = steps.at(np.sort(np.concatenate([largest, steps.unlike_neighbours(largest)])) if twice else largest)
    for halving in range(_HALVED):
        steps = steps.at(steps.largest()) if halving == _TWICE else steps
        middle = (steps.low + steps.high) / 2
        steps = steps.halves(_log_odds(asker.all_probabilities(len(middle), _on_paths(paths, steps.paths, middle))))
    return Jumps(steps.changes.max(1), steps.changes.max(0)[asker.target_rows], steps.low, moved), start


def _largest_of_paths(values: NDArray[np.float64], paths: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return of each path the row of its largest value; all paths have as many rows, one after the other."""
    of_paths = values.reshape(paths.max() + 1, -1)
    return np.asarray(np.arange(0, values.size, of_paths.shape[1]) + of_paths.argmax(1))


def chance_of_as_many(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Return how likely as many of one group, or more, are chosen where chance alone chooses among two: Fisher's test.

    Args:
        one: how many are chosen, of how many.
        other: likewise.
    """
    chosen, total = one[0] + other[0], one[1] + other[1]
    ways = [
        math.comb(one[1], part) * math.comb(other[1], chosen - part) for part in range(one[0], min(one[1], chosen) + 1)
    ]
    return sum(ways) / math.comb(total, chosen)


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
