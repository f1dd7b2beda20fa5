"""Masked training pictures: a network that learns from them gives sensible scores to what the masking loop shows it.

Masks are coarse random grids scaled up, as in RISE (Petsiuk et al. 2018, arXiv:1806.07421, section 3.2). Fills are
many, so that no fill, black patches above all, becomes evidence of a class.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

_LARGEST_GRID = 12
_BLUR = 12

Fill = Callable[[Generator, Tensor], Tensor]
Mask = Callable[[Tensor], tuple[Tensor, Tensor]]


def leave_whole(_: Generator, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures `[B, 3, H, W]` as they are, and masks that hide nothing."""
    return images, torch.ones_like(images[:, :1])


def mask_at_random(generator: Generator, images: Tensor) -> tuple[Tensor, Tensor]:
    """Hide random parts of pictures; every eight pictures share a grid size and a fill, a third stays whole.

    Args:
        images: `[B, 3, H, W]` in 0..1, square.

    Returns:
        The masked pictures `[B, 3, H, W]` and the masks `[B, 1, H, W]` in 0..1, 1 where the picture shows.
    """
    groups = [(part, draw_masks(generator, len(part), part.shape[-1])) for part in torch.split(images, 8)]
    masked = torch.cat([hide(generator, part, masks) for part, masks in groups])
    return masked, torch.cat([masks for _, masks in groups])


def draw_masks(generator: Generator, count: int, side: int) -> Tensor:
    """Return masks `[count, 1, side, side]` in 0..1, 1 where the picture shows.

    They are random grids of one size of 2 to 12 cells, with smooth or hard edges, shifted within a cell. Each keeps a
    share of its cells between none and all; a third of the masks keeps all.
    """
    cells = int(torch.randint(2, _LARGEST_GRID + 1, (1,), generator=generator))
    keep = (torch.rand(count, 1, 1, 1, generator=generator) * 1.5).clamp(max=1)
    grids = (torch.rand(count, 1, cells + 1, cells + 1, generator=generator) < keep).float()
    smooth = torch.rand((), generator=generator) < 0.6
    cell = -(-side // cells)
    large = functional.interpolate(grids, scale_factor=cell, mode="bilinear" if smooth else "nearest")
    top, left = torch.randint(cell, (2,), generator=generator).tolist()
    return large[:, :, top : top + side, left : left + side]


def hide(generator: Generator, images: Tensor, masks: Tensor) -> Tensor:
    """Return pictures with what the masks hide replaced by one of the fills.

    Args:
        images: `[B, 3, H, W]` in 0..1.
        masks: `[B, 1, H, W]` in 0..1.
    """
    fill = FILLS[int(torch.randint(len(FILLS), (1,), generator=generator))]
    return torch.lerp(fill(generator, images), images, masks)


def share_visible(parts: Tensor, masks: Tensor) -> Tensor:
    """Return how much of each part of a picture a mask shows, 0..1.

    Args:
        parts: boolean `[..., H, W]`; a part without a pixel counts as hidden.
        masks: of a shape that broadcasts with `parts`, in 0..1.

    Returns:
        `[...]`.
    """
    return (parts * masks).sum(dim=(-2, -1)) / parts.sum(dim=(-2, -1)).clamp(min=1)


def certainty_from(visible: Tensor) -> Tensor:
    """Return how sure one may be of something of which a share 0..1 shows: 0 up to a tenth, 0.97 from two thirds on."""
    return ((visible - 0.1) / 0.6).clamp(0, 0.97)


def _black(_: Generator, images: Tensor) -> Tensor:
    return torch.zeros_like(images)


def _random_grey(generator: Generator, images: Tensor) -> Tensor:
    return torch.rand(len(images), 1, 1, 1, generator=generator).expand_as(images)


def _random_color(generator: Generator, images: Tensor) -> Tensor:
    return torch.rand(len(images), 3, 1, 1, generator=generator).expand_as(images)


def _mean(_: Generator, images: Tensor) -> Tensor:
    return images.mean(dim=(2, 3), keepdim=True).expand_as(images)


def _blur(_: Generator, images: Tensor) -> Tensor:
    small = functional.avg_pool2d(images, _BLUR, ceil_mode=True)
    return functional.interpolate(small, size=images.shape[-2:], mode="bilinear")


def _noise(generator: Generator, images: Tensor) -> Tensor:
    return torch.rand(images.shape, generator=generator)


# Black counts twice because it is the fill that RISE was published with.
FILLS: tuple[Fill, ...] = (_black, _black, _random_grey, _random_color, _mean, _blur, _noise)
