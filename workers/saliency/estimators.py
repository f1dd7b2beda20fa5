"""The masking loop: sample a block, render its masks, blend, score, fit. Generators that a `BlockPipeline` drives.

Independent of Redis, HTTP and RQ: the caller handles progress, cancelling, checkpoints and early stop between two
blocks. Memory is that of one batch of masked images, however many masks there are. There is no synchronisation with the
device inside a block: each step of a generator launches a batch, the last one the fit, and the result may still be in
transfer from the device.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.saliency.geometry import Canvas
from workers.saliency.masks import blend, one_hot_states, render
from workers.saliency.regression import effects_of_cells
from workers.saliency.sampling import MaskDesign, sample_independently
from workers.saliency.score_moments import score_moments

T = TypeVar("T")

BatchSteps = Generator[None, None, T]
"""Launches one batch per step, and returns the result of all of them."""

Score = Callable[[Tensor], Tensor]
"""Masked images `[B, 3, H, W]` -> how much of each target is left, `[B, R]`."""


@dataclass(frozen=True)
class MaskingProblem:
    """The input of the masking loop.

    Attributes:
        image: on the canvas, as the black box takes it, `[3, H, W]`.
        fills: the images shown where masks hide, `[K, 3, H, W]`.
        canvas: the geometry of masks.
        score: the black box and the scoring of its outputs.
        batch: masked images per forward pass.
        match: score above which something of a target counts as left.
        turns: the fills of blocks 0, 1, ... and so on again, of which `fills` is the first; none: always `fills`.
    """

    image: Tensor
    fills: Tensor
    canvas: Canvas
    score: Score
    batch: int
    match: float = 0.0
    turns: tuple[Tensor, ...] = ()

    def of_block(self, block: int) -> "MaskingProblem":
        """Return the problem with the fills of one block."""
        return replace(self, fills=self.turns[block % len(self.turns)]) if len(self.turns) > 1 else self


@dataclass(frozen=True)
class Block:
    """The result of one block of masks.

    Attributes:
        index: number of the block.
        masks: masks in it.
        effects: of a contrast block, `[R, K, h, w]`; of a published block, its map `[R, K, H, W]` on the canvas.
        matched: share of masked images in which something of the target was left, `[R]`.
        moments: of a contrast block's scores, `[R, 3]`, as `score_moments` returns them; None where they are not known.
    """

    index: int
    masks: int
    effects: NDArray[np.float32]
    matched: NDArray[np.float32]
    moments: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PendingBlock:
    """A block whose values may still be in transfer from the device.

    Attributes:
        index: number of the block.
        masks: masks in it.
        effects: as `Block`, in this machine's memory.
        matched: likewise.
        arrival: of all of them; None where they are there at once.
        moments: as `Block`.
    """

    index: int
    masks: int
    effects: Tensor
    matched: Tensor
    arrival: torch.cuda.Event | None
    moments: Tensor | None = None

    @property
    def has_arrived(self) -> bool:
        """Whether `block` returns at once."""
        return self.arrival is None or bool(self.arrival.query())  # type: ignore[no-untyped-call]  # torch's

    def block(self) -> Block:
        """Wait for the device and return the block."""
        if self.arrival is not None:
            self.arrival.synchronize()
        moments = None if self.moments is None else self.moments.numpy()
        return Block(self.index, self.masks, self.effects.numpy(), self.matched.numpy(), moments)


def regression_block(
    problem: MaskingProblem, design: MaskDesign, block: int, buffer: Tensor, *, known: Tensor | None = None
) -> BatchSteps[PendingBlock]:
    """Return the cell effects of a block: the estimator of this project.

    Args:
        problem: image, fills, canvas and scoring.
        design: how states are sampled.
        block: its number.
        buffer: for one batch of masked images, from `allocate_batch`.
        known: the scores of its first masks, `[P, R]`, where they were computed before.
    """
    problem = problem.of_block(block)
    hidden = one_hot_states(_to(design.sample(block), problem), design.fills)
    scores = yield from _scores(problem, hidden, block_weights(problem, block), buffer, known)
    matched, moments = (scores > problem.match).float().mean(0), score_moments(scores, folded=design.balanced)
    effects = effects_of_cells(scores, hidden, design.tiling, balanced=design.balanced)
    return _launched(block, len(scores), effects, matched, moments)


def pilot_scores(
    problem: MaskingProblem, design: MaskDesign, masks: int, *, is_decided: Callable[[Tensor], bool]
) -> Tensor:
    """Return the scores of the first masks of the first block, `[N, R]` float32.

    Args:
        problem: image, fills, canvas and scoring.
        design: how states are sampled.
        masks: N at most.
        is_decided: whether the scores so far are enough.
    """
    with torch.inference_mode():
        problem = problem.of_block(0)
        hidden = one_hot_states(_to(design.sample(0)[:masks], problem), design.fills)
        weights, buffer, found = block_weights(problem, 0), allocate_batch(problem), []
        for start in range(0, hidden.shape[1], problem.batch):
            found.append(_result(_scores(problem, hidden[:, start : start + problem.batch], weights, buffer)))
            if is_decided(torch.cat(found)):
                break
        return torch.cat(found)


def block_weights(problem: MaskingProblem, block: int) -> tuple[Tensor, Tensor]:
    """Return the interpolation weights of a block's masks, `[H, h]` and `[W, w]`."""
    dy, dx = problem.canvas.shift(block)
    vertical, horizontal = problem.canvas.axes
    return _to(vertical.rows(dy), problem), _to(horizontal.rows(dx), problem)


def _scores(
    problem: MaskingProblem,
    hidden: Tensor,
    weights: tuple[Tensor, Tensor],
    buffer: Tensor,
    known: Tensor | None = None,
) -> BatchSteps[Tensor]:
    """Return the scores of all masks of a block, `[N, R]` float32, batch by batch; those of the first may be known."""
    differences = problem.fills - problem.image
    scores = [] if known is None else [known]
    for start in range(0 if known is None else len(known), hidden.shape[1], problem.batch):
        masks = render(hidden[:, start : start + problem.batch], *weights)
        masked = blend(problem.image, differences, masks, out=buffer)
        scores.append(problem.score(masked).float())
        yield
    return torch.cat(scores)


def _result(steps: BatchSteps[T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def allocate_batch(problem: MaskingProblem) -> Tensor:
    """Return memory for one batch of masked images, `[B, 3, H, W]`."""
    return problem.image.new_empty((problem.batch, *problem.image.shape))


PublishedMap = Callable[[Tensor, Tensor], Tensor]
"""Scores `[B, R]` and masks `[1+K, B, H, W]` (kept, then hidden by each fill) -> their sum `[R, K, H, W]`."""


def monte_carlo_block(
    problem: MaskingProblem, design: MaskDesign, block: int, buffer: Tensor, *, masks: int, weigh: PublishedMap
) -> BatchSteps[PendingBlock]:
    """Return the mean of weighted masks of a block, at full resolution: the estimators as published.

    Args:
        problem: image, fills, canvas and scoring.
        design: grid, keep probability, fills and seed; its blocks are not used.
        block: its number.
        buffer: for one batch of masked images, from `allocate_batch`.
        masks: masks in a block; a block only groups masks here, each has its own shift.
        weigh: how scores weigh masks, in which the published methods differ.
    """
    problem = problem.of_block(block)
    states, uniform = sample_independently(design, block, masks)
    hidden = one_hot_states(_to(states, problem), design.fills)
    total, matched = torch.zeros(()), torch.zeros(())
    differences = problem.fills - problem.image
    for start in range(0, masks, problem.batch):
        part = slice(start, start + problem.batch)
        drawn = render(hidden[:, part], *weights_of_each(problem, uniform[part]))
        scores = problem.score(blend(problem.image, differences, drawn, out=buffer)).float()
        kept = 1 - drawn.sum(0, keepdim=True)
        total = total.to(scores.device) + weigh(scores, torch.cat([kept, drawn]))
        matched = matched.to(scores.device) + (scores > problem.match).float().sum(0)
        yield
    return _launched(block, masks, total / masks, matched / masks)


def weights_of_each(problem: MaskingProblem, uniform: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the interpolation weights of masks with a shift each, `[B, H, h]` and `[B, W, w]`."""
    vertical, horizontal = problem.canvas.axes
    rows = np.stack([vertical.rows(int(value * vertical.cell >> 31)) for value in uniform[:, 0]])
    columns = np.stack([horizontal.rows(int(value * horizontal.cell >> 31)) for value in uniform[:, 1]])
    return _to(rows, problem), _to(columns, problem)


def _to(array: NDArray[np.generic], problem: MaskingProblem) -> Tensor:
    """Copy an array to the device, from pinned memory, because other copies synchronise with the device."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    pinned = tensor.pin_memory() if problem.image.is_cuda else tensor
    return pinned.to(problem.image.device, non_blocking=True)


def _launched(block: int, masks: int, effects: Tensor, matched: Tensor, moments: Tensor | None = None) -> PendingBlock:
    """Start the copy of a block's result to host memory (pinned, which torch uses for non-blocking copies)."""
    sent, rates = (tensor.float().to("cpu", non_blocking=True) for tensor in (effects, matched))
    of_scores = None if moments is None else moments.to("cpu", non_blocking=True)
    arrival = torch.cuda.current_stream(effects.device).record_event() if effects.is_cuda else None
    return PendingBlock(block, masks, sent, rates, arrival, of_scores)
