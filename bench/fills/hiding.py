"""Ways of hiding: a picture and masks to masked pictures, on the values that the model takes."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workers.blackbox import Classifier
from workers.blackbox.preprocessing import normalise, pixels, to_input
from workers.explainer.plan import ExplanationPlan, with_fill
from workers.saliency.masks import blend

Hide = Callable[[Tensor], Tensor]
"""How much is hidden, 0..1, `[B, H, W]` -> masked pictures `[B, 3, H, W]`."""

SHUFFLE, OTHER, INPAINT = "shuffle", "other photograph", "inpaint"
_PLUGINS = ("black", "grey", "mean", "blur", "noise")
FILLS = (*_PLUGINS, SHUFFLE, OTHER, INPAINT)
FEW_FILLS = ("black", "grey", "blur", INPAINT)
"""Those that the first pictures leave: the published one, and the three whose blocks agree best."""

_SIGMA = 1 / 16  # of the longer side: half a cell
_PATCHES = 32  # along the longer side: a quarter of a cell each way


def ways_to_hide(plan: ExplanationPlan, model: Classifier, picture: Image.Image, other: Image.Image) -> dict[str, Hide]:
    """Return all of them by name.

    Args:
        plan: of an explanation of the picture.
        model: that it is of.
        picture: what is explained.
        other: a photograph of something else, which hides it as things hide each other.
    """
    image = plan.problem.image
    fills = {name: with_fill(plan, model, picture, name, opacity=1, blocks=1).problem.fills for name in _PLUGINS}
    fills[SHUFFLE] = shuffled(image)[None]
    occluder = normalise(to_input(pixels(other)[None], model.preprocessing), model.preprocessing)
    fills[OTHER] = occluder.to(image.dtype)
    return {name: _with(image, fill) for name, fill in fills.items()} | {INPAINT: lambda hidden: inpaint(image, hidden)}


def _with(image: Tensor, fill: Tensor) -> Hide:
    def hide(hidden: Tensor) -> Tensor:
        out = image.new_empty((len(hidden), *image.shape))
        return blend(image, fill - image, hidden[None], out=out)

    return hide


def shuffled(image: Tensor) -> Tensor:
    """Return the picture `[3, H, W]` cut into small patches that change places; a remainder stays where it is."""
    side = max(1, round(max(image.shape[1:]) / _PATCHES))
    rows, columns = (length // side for length in image.shape[1:])
    whole = image[:, : rows * side, : columns * side]
    patches = whole.reshape(3, rows, side, columns, side).permute(1, 3, 0, 2, 4).flatten(0, 1)
    order = np.random.Generator(np.random.Philox(key=[0, 0x53485546])).permutation(len(patches))
    moved = patches[torch.from_numpy(order).to(image.device)].reshape(rows, columns, 3, side, side)
    painted = image.clone()
    painted[:, : rows * side, : columns * side] = moved.permute(2, 0, 3, 1, 4).reshape(whole.shape)
    return painted


def inpaint(image: Tensor, hidden: Tensor, *, sigma: float = _SIGMA) -> Tensor:
    """Return pictures with what is hidden replaced by the weighted mean of what is visible around it.

    Normalised convolution (Knutsson and Westin, CVPR 1993): `blur(visible * image) / blur(visible)`. A weighted mean
    of pixels, so it is the same on normalised values as on colours.

    Args:
        image: `[3, H, W]`.
        hidden: 0..1, `[B, H, W]`.
        sigma: of the Gaussian, relative to the longer side.

    Returns:
        `[B, 3, H, W]`.
    """
    visible = (1 - hidden)[:, None]
    rows, columns = (_gaussian(side, sigma * max(hidden.shape[1:]), image) for side in hidden.shape[1:])
    seen = rows @ (visible * torch.cat([image, torch.ones_like(image[:1])])) @ columns.mT  # [B, 4, H, W]
    around = seen[:, :3] / seen[:, 3:]
    return torch.lerp(around, image, visible)


def _gaussian(side: int, sigma: float, image: Tensor) -> Tensor:
    """Return weights `[side, side]` of the pixels along a side."""
    at = torch.arange(side, dtype=image.dtype, device=image.device)
    return torch.exp(-0.5 * ((at[:, None] - at) / sigma) ** 2) + 1e-6
