"""The masking loop: sample a block, render its masks, blend, ask the model, fit. A generator; the caller decides.

It knows nothing of Redis, HTTP or RQ: progress, cancelling, checkpoints and early stop are the caller's business
between two `next`. Memory is that of one batch of masked images, however many masks there are. Nothing waits for the
device inside a block.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.geometry import Canvas
from workers.saliency.designs import Design, sample_independently
from workers.saliency.effects import balanced_effects, fitted_effects
from workers.saliency.masks import blend, indicators, render

Score = Callable[[Tensor], Tensor]
"""Masked images `[B, 3, H, W]` -> how much of each target is left, `[B, R]`."""

_LOOK_AHEAD = 2**63  # a block that no explanation reaches


@dataclass(frozen=True)
class Scene:
    """What the loop looks at.

    Attributes:
        image: what the black box takes, on the canvas, `[3, H, W]`.
        fills: the pictures shown where masks hide, `[K, 3, H, W]`.
        canvas: the geometry of masks.
        score: the black box and what is asked of it.
        batch: masked images per forward pass.
        match: score above which something of a target counts as left.
    """

    image: Tensor
    fills: Tensor
    canvas: Canvas
    score: Score
    batch: int
    match: float = 0.0


@dataclass(frozen=True)
class Block:
    """What one block of masks says.

    Attributes:
        index: number of the block.
        masks: masks in it.
        effects: of a contrast block, `[R, K, h, w]`; of a published block, its map `[R, K, H, W]` on the canvas.
        matched: share of masked images in which something of the target was left, `[R]`.
    """

    index: int
    masks: int
    effects: NDArray[np.float32]
    matched: NDArray[np.float32]


def contrast_blocks(scene: Scene, design: Design, blocks: Iterable[int]) -> Iterator[Block]:
    """Yield the cell effects of each block: the estimator of this project."""
    fit = balanced_effects if design.balanced else fitted_effects
    room = _room(scene)
    for block in blocks:
        with torch.inference_mode():
            hidden = indicators(_to(design.sample(block), scene), design.fills)
            rows, columns = _weights(scene, *scene.canvas.shift(block))
            scores = _scores(scene, hidden, rows, columns, room)
            effects, matched = _array(fit(scores, hidden)), _array((scores > scene.match).float().mean(0))
        yield Block(block, len(scores), effects, matched)  # outside, because the mode belongs to the thread


def match_rates(scene: Scene, design: Design, masks: int) -> NDArray[np.float32]:
    """Return in which share of some masked images something of each target was left, `[R]`: a look ahead."""
    with torch.inference_mode():
        states, _ = sample_independently(design, _LOOK_AHEAD, masks)
        hidden = indicators(_to(states, scene), design.fills)
        scores = _scores(scene, hidden, *_weights(scene, *scene.canvas.shift(0)), _room(scene))
        return _array((scores > scene.match).float().mean(0))


def _weights(scene: Scene, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    vertical, horizontal = scene.canvas.axes
    return _to(vertical.rows(dy), scene), _to(horizontal.rows(dx), scene)


def _scores(scene: Scene, hidden: Tensor, rows: Tensor, columns: Tensor, room: Tensor) -> Tensor:
    """Return the scores of all masks of a block, `[N, R]` float32, batch by batch."""
    differences = scene.fills - scene.image
    scores = []
    for start in range(0, hidden.shape[1], scene.batch):
        masks = render(hidden[:, start : start + scene.batch], rows, columns)
        masked = blend(scene.image, differences, masks, out=room)
        scores.append(scene.score(masked).float())
    return torch.cat(scores)


def _room(scene: Scene) -> Tensor:
    return scene.image.new_empty((scene.batch, *scene.image.shape))


PublishedMap = Callable[[Tensor, Tensor], Tensor]
"""Scores `[B, R]` and masks `[1+K, B, H, W]` (kept, then hidden by each fill) -> their sum `[R, K, H, W]`."""


def published_blocks(
    scene: Scene, design: Design, blocks: Iterable[int], *, masks: int, weigh: PublishedMap
) -> Iterator[Block]:
    """Yield the mean of weighted masks of each block, at full resolution: the estimators as published.

    Args:
        scene: what the loop looks at.
        design: grid, keep probability, fills and seed; its blocks are not used.
        blocks: numbers of the blocks.
        masks: masks in a block; a block only groups masks here, each has its own shift.
        weigh: how scores weigh masks, which is what sets the published methods apart.
    """
    room = _room(scene)
    for block in blocks:
        with torch.inference_mode():
            states, uniform = sample_independently(design, block, masks)
            hidden = indicators(_to(states, scene), design.fills)
            done = _published_block(scene, block, hidden, uniform, weigh, room)
        yield done  # outside, because the mode belongs to the thread


def _published_block(
    scene: Scene, block: int, hidden: Tensor, uniform: NDArray[np.int64], weigh: PublishedMap, room: Tensor
) -> Block:
    total, matched = torch.zeros(()), torch.zeros(())
    differences = scene.fills - scene.image
    for start in range(0, hidden.shape[1], scene.batch):
        part = slice(start, start + scene.batch)
        masks = render(hidden[:, part], *weights_of_each(scene, uniform[part]))
        scores = scene.score(blend(scene.image, differences, masks, out=room)).float()
        kept = 1 - masks.sum(0, keepdim=True)
        total = total.to(scores.device) + weigh(scores, torch.cat([kept, masks]))
        matched = matched.to(scores.device) + (scores > scene.match).float().sum(0)
    count = hidden.shape[1]
    return Block(block, count, _array(total / count), _array(matched / count))


def weights_of_each(scene: Scene, uniform: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return the interpolation weights of masks with a shift each, `[B, H, h]` and `[B, W, w]`."""
    vertical, horizontal = scene.canvas.axes
    rows = np.stack([vertical.rows(int(value * vertical.cell >> 31)) for value in uniform[:, 0]])
    columns = np.stack([horizontal.rows(int(value * horizontal.cell >> 31)) for value in uniform[:, 1]])
    return _to(rows, scene), _to(columns, scene)


def _to(array: NDArray[np.generic], scene: Scene) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(scene.image.device, non_blocking=True)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
