"""The strongest effects of a map, as sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.geometry import Viewport

_MOST = 3


@dataclass(frozen=True)
class Finding:
    """What hiding one place does to the score.

    Attributes:
        fill: by which fill.
        x: place in pixels of the image.
        y: likewise.
        change: of the score.
        error: standard error of the change; None before it is known.
    """

    fill: int
    x: float
    y: float
    change: float
    error: float | None


def strongest_effects(
    mean: NDArray[np.float64], error: NDArray[np.float64] | None, viewport: Viewport
) -> list[Finding]:
    """Return the strongest place of each fill, the strongest first.

    Args:
        mean: `[K, H, W]` of one target, change of the score when a pixel becomes visible.
        error: its standard error.
        viewport: what the map shows.
    """
    x0, y0, x1, y1 = viewport.view
    effects = []
    for fill, effects_map in enumerate(mean):
        row, column = np.unravel_index(int(np.abs(effects_map).argmax()), effects_map.shape)
        x = x0 + (float(column) + 0.5) * (x1 - x0) / viewport.width
        y = y0 + (float(row) + 0.5) * (y1 - y0) / viewport.height
        deviation = None if error is None else float(error[fill, row, column])
        effects.append(Finding(fill, x, y, -float(effects_map[row, column]), deviation))
    return sorted(effects, key=lambda effect: -abs(effect.change))


def describe_finding(effects: Sequence[Finding], fills: Sequence[str], name: str | None, *, factor: float) -> list[str]:
    """Return sentences about the strongest effects that are clearly not noise.

    Args:
        effects: the strongest first.
        fills: their names.
        name: of the target; None for a box.
        factor: standard errors from which an effect is reported.
    """
    clear = [effect for effect in effects if effect.error is not None and abs(effect.change) > factor * effect.error]
    return [_sentence(effect, fills, name) for effect in clear[:_MOST]]


def _sentence(effect: Finding, fills: Sequence[str], name: str | None) -> str:
    moves = "raises" if effect.change > 0 else "lowers"
    what = "the score of this box" if name is None else repr(name)
    place = f"the region around ({effect.x:.0f}, {effect.y:.0f})"
    return f"painting {place} {fills[effect.fill]} {moves} {what} by {abs(effect.change):.2f} +- {effect.error:.2f}"
