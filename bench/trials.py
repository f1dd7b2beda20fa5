"""Blocks of masks that the product does not sample, shown to a model for `bench/experiments.py`.

A trial asks a model about one block of chosen cells at one shift and remembers the answer, because most variants
differ only in what they make of the same scores.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from app.contract.saliency.geometry import Canvas
from bench.reference import Map
from bench.surrogate import matched
from workers.explainer.plan import ExplanationPlan
from workers.saliency.masks import blend, one_hot_states, render
from workers.saliency.sampling import MaskDesign, States

Shift = tuple[int, int]
Sampler = Callable[[ExplanationPlan, int], tuple[States, Shift]]
"""Number of a block -> its states `[N, h, w]` and its shift."""


@dataclass(frozen=True)
class Trial:
    """A block that the model has seen.

    Attributes:
        visible: `[N, h*w]` of 0 and 1.
        shift: vertical and horizontal, in pixels.
        scores: of the first target, `[N]`.
    """

    visible: Tensor
    shift: Shift
    scores: Tensor

    @property
    def effects(self) -> Tensor:
        """Mean score with a cell visible minus the mean with it hidden, `[h*w]`."""
        return matched(self.visible, self.scores)


class Bank:
    """Asks the model about blocks and remembers the answers."""

    def __init__(self, study: ExplanationPlan) -> None:
        self.study = study
        self._trials: dict[tuple[Sampler, int], Trial] = {}
        self._maps: dict[tuple[str, int], Map] = {}

    @property
    def canvas(self) -> Canvas:
        """The geometry of masks."""
        return self.study.problem.canvas

    def trials(self, sample: Sampler, masks: int) -> list[Trial]:
        """Return as many whole blocks as there are masks for, one at least."""
        size = len(sample(self.study, 0)[0])
        for block in range(max(1, masks // size)):
            if (sample, block) not in self._trials:
                self._trials[sample, block] = self.ask(*sample(self.study, block))
        return [self._trials[sample, block] for block in range(max(1, masks // size))]

    def remember(self, variant: str, block: int, make: Callable[[int], Map]) -> Map:
        """Return the map of a block that one variant alone samples, made once."""
        if (variant, block) not in self._maps:
            self._maps[variant, block] = make(block)
        return self._maps[variant, block]

    def ask(self, states: States, shift: Shift) -> Trial:
        """Show the model one block."""
        scene, row, scores = self.study.problem, self.study.resolved.target_rows[0], []
        room = scene.image.new_empty((scene.batch, *scene.image.shape))
        rows, columns = (torch.from_numpy(axis.rows(at)) for axis, at in zip(self.axes(states), shift, strict=True))
        hidden = one_hot_states(torch.from_numpy(states), 1)
        with torch.inference_mode():
            for part in hidden.split(scene.batch, 1):  # type: ignore[no-untyped-call]  # because torch has not typed it
                masked = blend(scene.image, scene.fills - scene.image, render(part, rows, columns), out=room)
                scores.append(scene.score(masked)[:, row].float())
        return Trial(1 - hidden[0].flatten(1), shift, torch.cat(scores).clone())

    def axes(self, states: States) -> tuple:  # type: ignore[type-arg]
        """Return the sides of the canvas with the cells that these states have."""
        return replace(self.canvas, grid=states.shape[1:]).axes

    def draw(self, effects: Tensor, shift: Shift) -> Map:
        """Return the map of cell effects `[h*w]` on the canvas."""
        sides = zip(self.canvas.axes, shift, strict=True)
        rows, columns = (axis.rows(at) / axis.second_moment()[:, None] for axis, at in sides)
        drawn: Map = (rows @ effects.view(self.canvas.grid).numpy() @ columns.T).astype(np.float64)
        return drawn


def folded(study: ExplanationPlan, block: int) -> tuple[States, Shift]:
    """Sample as the product does: a Hadamard design and its negative."""
    return study.design.sample(block), study.problem.canvas.shift(block)


def unfolded(study: ExplanationPlan, block: int) -> tuple[States, Shift]:
    """Sample a Hadamard design without its negative: half as many masks, twice as many shifts."""
    states, shift = folded(study, block)
    return states[: len(states) // 2], shift


def half_folded(study: ExplanationPlan, block: int) -> tuple[States, Shift]:
    """Sample half the rows of a Hadamard design, with their negatives: fewer masks than cells."""
    states, shift = folded(study, block)
    order = len(states) // 2
    rows = np.random.default_rng(block).permutation(order)[: order // 2]
    return states[np.concatenate([rows, rows + order])], shift


def doubled(study: ExplanationPlan, block: int) -> tuple[States, Shift]:
    """Sample a Hadamard design of twice the order, of which half the columns stay unused."""
    height, width = study.design.grid
    states = MaskDesign((2 * height, width), 0.5, 1, study.design.seed).sample(block)
    return states[:, :height], study.problem.canvas.shift(block)


def coarse(study: ExplanationPlan, _: int) -> tuple[States, Shift]:
    """Sample one block of cells twice as wide and high."""
    height, width = study.design.grid
    return MaskDesign((height // 2, width // 2), 0.5, 1, study.design.seed).sample(0), (0, 0)
