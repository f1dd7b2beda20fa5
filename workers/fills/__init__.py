"""Fills: the picture shown where a mask hides. One file per fill; its name is the fill's public name.

To add one, write `workers/fills/NAME.py` with a docstring of one line and the function of `FillPlugin`. Nothing else
has to be registered; the tests try every file in this folder. `#rrggbb` is a fill too: one colour everywhere.
"""

import re
import sys
from typing import Protocol, cast

import torch
from torch import Tensor

from app.contract.plugins import plugin, plugin_names

COLOR = r"#[0-9a-fA-F]{6}"


class FillPlugin(Protocol):
    """A module that defines one fill."""

    def paint(self, image: Tensor, /, *, model_mean: tuple[float, float, float], seed: int) -> Tensor:
        """Return the picture shown where masks hide, `[3, H, W]` in 0..1.

        Args:
            image: `[3, H, W]` in 0..1.
            model_mean: the mean that the model's normalisation subtracts.
            seed: for fills with randomness in them.
        """
        ...


def fill_names() -> tuple[str, ...]:
    """Return the names of all fills, colours aside."""
    return plugin_names(sys.modules[__name__])


def is_fill(name: str) -> bool:
    """Return whether `paint` takes this name."""
    return bool(re.fullmatch(COLOR, name)) or name in fill_names()


def paint(name: str, image: Tensor, *, model_mean: tuple[float, float, float], seed: int) -> Tensor:
    """Return the picture of a fill, `[3, H, W]` in 0..1.

    Args:
        name: a fill's name, or `#rrggbb`.
        image: `[3, H, W]` in 0..1.
        model_mean: the mean that the model's normalisation subtracts.
        seed: for fills with randomness in them.

    Raises:
        KeyError: if there is no such fill.
    """
    if re.fullmatch(COLOR, name):
        return solid(image, tuple(int(name[place : place + 2], 16) / 255 for place in (1, 3, 5)))
    fill = cast(FillPlugin, plugin(sys.modules[__name__], name))
    return fill.paint(image, model_mean=model_mean, seed=seed)


def solid(image: Tensor, color: tuple[float, ...]) -> Tensor:
    """Return one colour everywhere, `[3, H, W]`."""
    return torch.tensor(color, dtype=image.dtype, device=image.device).view(3, 1, 1).expand_as(image)
