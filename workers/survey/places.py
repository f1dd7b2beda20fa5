"""Where a map has its saliency, in words."""

import numpy as np
from numpy.typing import NDArray

from app.contract.survey import GRID, Alignment

_THIRD = 0.36
"""Share of a side: a centre of mass nearer to an edge is at this edge, because smooth maps pull it to the middle."""

_SPREAD = 0.36
"""Root mean square distance from the centre of mass in sides; evenly spread saliency has .41, a corner mark .15."""

_ON = 0.5
"""Least share of the saliency within the object's box that is called "on the object"; a fourth is chance."""


def place_of(mean_map: NDArray[np.floating], alignment: Alignment) -> str:
    """Return where the saliency of a map `[16, 16]` is."""
    total = float(mean_map.sum())
    if total <= 0:
        return "nowhere"
    weights = np.asarray(mean_map, dtype=np.float64) / total
    return _around_object(weights) if alignment == "object" else _in_picture(weights)


def _in_picture(weights: NDArray[np.float64]) -> str:
    x, y, spread = _centre(weights)
    if spread > _SPREAD:
        return "all over the picture"
    match _side(y, "upper", "lower"), _side(x, "left", "right"):
        case "", "":
            return "middle of the picture"
        case ("", side) | (side, ""):
            return f"{side} part of the picture"
        case rows, columns:
            return f"{rows} {columns} corner"


def _around_object(weights: NDArray[np.float64]) -> str:
    quarter = GRID // 4
    if weights[quarter:-quarter, quarter:-quarter].sum() >= _ON:
        return "object"
    x, y, _ = _centre(weights)
    sides = [word for word in (_side(y, "above", "below"), _side(x, "left of", "right of")) if word]
    return f"region {' and '.join(sides) or 'around'} the object"


def _centre(weights: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return x and y of the centre of mass, and the root mean square distance from it, in sides."""
    at = (np.arange(GRID) + 0.5) / GRID
    x, y = float(weights.sum(0) @ at), float(weights.sum(1) @ at)
    spread = weights.sum(0) @ (at - x) ** 2 + weights.sum(1) @ (at - y) ** 2
    return x, y, float(np.sqrt(spread))


def _side(position: float, first: str, last: str) -> str:
    return first if position < _THIRD else last if position > 1 - _THIRD else ""
