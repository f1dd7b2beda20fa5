"""Paths from an image to masked ones, and to natural changes of it.

Natural changes are ripples, as of water between camera and scene: they keep detail and colours, so that a model which
reacts to what masks remove has no reason to react to them, and bend shapes far enough that scores change, so that a
model which is discontinuous by nature shows it.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from workers.explainer.plan import ExplanationPlan
from workers.saliency.estimators import block_weights
from workers.saliency.masks import blend, one_hot_states, render

Path = Callable[[float], Tensor]
"""Place on it, 0..1 -> picture `[3, H, W]`; at 0 it is the image."""

_MASKED = 6
_RIPPLES = ((0.05, 16.0, 0.0), (0.1, 12.0, 0.0), (0.15, 10.0, 0.0), (0.1, 16.0, 0.0), (0.2, 8.0, 0.5))
"""Largest shift in half sides, radians per half side, brightening in standard deviations of the image.

Not longer waves: where shift times radians is near 1 they spread few pixels over a region, which looks blurred.
"""


def masked_paths(plan: ExplanationPlan, count: int = _MASKED) -> list[Path]:
    """Return the paths along which the first masks of the explanation fade in: `image + place (masked - image)`."""
    problem = plan.problem
    states = torch.from_numpy(plan.design.sample(0)[:count]).to(problem.image.device)
    masks = render(one_hot_states(states, plan.design.fills), *block_weights(problem, 0))
    out = problem.image.new_empty((len(states), *problem.image.shape))
    return [_faded(problem.image, end) for end in blend(problem.image, problem.fills - problem.image, masks, out=out)]


def natural_paths(image: Tensor) -> list[Path]:
    """Return the paths along which ripples of several lengths move the pixels of an image `[3, H, W]`.

    The last one also brightens it, for models and images in which places hardly matter.
    """
    return [_rippled(image, *ripples) for ripples in _RIPPLES]


def _faded(image: Tensor, end: Tensor) -> Path:
    return lambda place: end if place == 1 else image + place * (end - image)


def _rippled(image: Tensor, shift: float, waves: float, brightening: float) -> Path:
    """Return the path to an image whose rows and columns are moved by waves; beyond its border it is mirrored."""
    y, x = torch.meshgrid(*(_centres(side, image) for side in image.shape[1:]), indexing="ij")
    moved = torch.stack([shift * torch.sin(waves * y + 1), shift * torch.sin(waves * x + 2)], -1)
    there = torch.stack([x, y], -1)

    brighter = brightening * float(image.std())

    def picture(place: float) -> Tensor:
        places = (there + place * moved)[None].to(image.dtype)
        rippled = functional.grid_sample(
            image[None], places, mode="bicubic", padding_mode="reflection", align_corners=False
        )
        return rippled[0] + place * brighter

    return picture


def _centres(side: int, image: Tensor) -> Tensor:
    """Return where pixels are, from -1 to 1."""
    return (2 * torch.arange(side, device=image.device) + 1) / side - 1
