"""Quality of a map: the score while pixels are removed or inserted in its order, and the place of its peak.

Deletion and insertion: RISE (Petsiuk, Das, Saenko, BMVC 2018), section 4.2. Pointing game: Zhang et al., ECCV 2016.
Energy in a box: Wang et al. (Score-CAM), CVPR workshops 2020. Average drop: Chattopadhay et al. (Grad-CAM++), WACV
2018.
Ties are broken by seeded noise, so that a flat map is no better than chance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TargetScore = Callable[[Tensor], Tensor]
"""Pictures `[B, 3, H, W]` -> the target's score `[B]`."""


@dataclass(frozen=True)
class Curve:
    """A score against the share of pixels that were changed.

    Attributes:
        shares: from 0 to 1.
        scores: the score at each share.
        area: under the curve, by trapezoids.
    """

    shares: list[float]
    scores: list[float]
    area: float


def rank_pixels(saliency: NDArray[np.float32], *, seed: int) -> NDArray[np.int64]:
    """Return the flat indices of pixels, the most salient first; ties in an order that the seed decides."""
    noise = np.random.Generator(np.random.Philox(key=[seed, 0x54494553])).random(saliency.size)
    return np.lexsort((noise, -saliency.ravel()))


def perturbation_curve(
    score: TargetScore, start: Tensor, end: Tensor, order: NDArray[np.int64], *, steps: int, batch: int
) -> Curve:
    """Change pixels of one picture into those of another in an order, and record the score.

    Args:
        score: the target's score.
        start: `[3, H, W]`.
        end: `[3, H, W]`; for deletion the fill, for insertion the image.
        order: flat indices of pixels.
        steps: number of equal steps; the curve has one point more.
        batch: pictures per forward pass.
    """
    rank = torch.empty(len(order), dtype=torch.long)
    rank[torch.from_numpy(order)] = torch.arange(len(order))
    rank = rank.view(start.shape[1:]).to(start.device)
    counts = torch.linspace(0, len(order), steps + 1).round().long()
    scores: list[float] = []
    with torch.inference_mode():
        for part in torch.split(counts, batch):
            changed = rank < part.to(start.device).view(-1, 1, 1)
            scores += score(torch.where(changed[:, None], end, start)).float().tolist()
    shares = (counts / len(order)).tolist()
    return Curve(shares, scores, float(np.trapezoid(scores, shares)))


def pointing_game_hit_rate(
    saliency: NDArray[np.float32], box: tuple[float, float, float, float], *, tolerance: float
) -> float:
    """Return the share of the map's maxima that lie in a box grown by a tolerance in pixels: 1 is a hit, 0 a miss."""
    rows, columns = np.nonzero(saliency == saliency.max())
    x0, y0, x1, y1 = box
    across = (columns + 0.5 >= x0 - tolerance) & (columns + 0.5 <= x1 + tolerance)
    down = (rows + 0.5 >= y0 - tolerance) & (rows + 0.5 <= y1 + tolerance)
    return float(np.mean(across & down))


def energy_in(saliency: NDArray[np.float32], box: tuple[float, float, float, float]) -> float | None:
    """Return the share of the positive saliency whose pixel centres lie in a box; None where nothing is positive."""
    positive = np.maximum(saliency, 0)
    if positive.sum() == 0:
        return None
    x0, y0, x1, y1 = box
    rows, columns = (np.arange(side) + 0.5 for side in saliency.shape)
    inside = np.outer((rows >= y0) & (rows <= y1), (columns >= x0) & (columns <= x1))
    return float(positive[inside].sum() / positive.sum())


def average_drop(score: TargetScore, image: Tensor, fill: Tensor, saliency: Tensor) -> float:
    """Return by which share the score falls when the image is weighted by its scaled positive map, 0..1.

    Args:
        score: the target's score.
        image: `[3, H, W]`.
        fill: what shows where the map is 0, `[3, H, W]`.
        saliency: `[H, W]`.
    """
    weight = saliency.clamp(min=0)
    weight = weight / weight.max().clamp(min=1e-12)
    with torch.inference_mode():
        before, after = score(torch.stack([image, torch.lerp(fill, image, weight)])).float().tolist()
    return max(0.0, before - after) / before if before > 0 else 0.0
