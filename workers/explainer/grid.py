"""How fine a grid of cells objects need, and where: `grid: auto`.

An object whose shorter side spans three cells is told apart from its surroundings. A block of masks takes twice as many
masks as there are tiles: 72 for 6 x 6 cells, 128 for 8 x 8, 512 for 16 x 16; but about 200 for 16 x 16 where four
cells far from a single small object are one tile (`app/contract/saliency/tiling.py`).
"""

import math
from collections.abc import Sequence
from itertools import product

from app.contract.saliency.tiling import Squares, Tiling
from app.contract.schemas import Box

FINEST = 16
_UNIFORM = (6, 8, 10, FINEST)
_REFINED = (12, 14, FINEST)  # so that squares of two by two cells are no larger than cells of the coarsest grid
_CELLS_PER_OBJECT = 3
_MARGIN = 1  # cells around an object that are tiles, too, because shifts move cells by up to one


def tiling_for(boxes: Sequence[Box], view: Box) -> Tiling:
    """Return the fewest tiles at which the shorter side of every box spans three of those around it.

    Args:
        boxes: x0, y0, x1, y1 in pixels of the image; what lies outside of the canvas does not count.
        view: x0, y0, x1, y1 of the canvas in pixels of the image.

    Returns:
        6, 8, 10, 12, 14 or 16 cells along each side; 16 too where not even that is enough. From 12 on, cells far from
        all boxes that need them are in tiles of four.
    """
    shares = [_on_canvas(box, view) for box in boxes]
    needed = min(max(_cells_needed(share) for share in shares), FINEST)
    tilings = [Tiling((side, side)) for side in _UNIFORM]
    tilings += [Tiling((side, side), _refined_squares(shares, side)) for side in _REFINED]
    return min((tiling for tiling in tilings if tiling.grid[0] >= needed), key=lambda tiling: tiling.count)


def _on_canvas(box: Box, view: Box) -> Box:
    """Return a box in shares of the canvas' width and height, cut off at its edges."""
    (left, top, right, bottom), (x0, y0, x1, y1) = box, view
    across, down = (
        [min(max((value - first) / (last - first), 0.0), 1.0) for value in values]
        for values, first, last in (((left, right), x0, x1), ((top, bottom), y0, y1))
    )
    return across[0], down[0], across[1], down[1]


def _cells_needed(share: Box) -> float:
    """Return how many cells a side has when the box has as many as it needs; infinitely many outside of the canvas."""
    left, top, right, bottom = share
    shorter = min(right - left, bottom - top)
    return _CELLS_PER_OBJECT / shorter if shorter > 0 else math.inf


def _refined_squares(shares: Sequence[Box], side: int) -> Squares | None:
    """Return the squares of two by two cells at boxes for which a square is too large a tile; None where it is all."""
    small = [share for share in shares if _cells_needed(share) > side / 2]
    places = product(range(side // 2), range(side // 2))
    near = tuple(place for place in places if any(_is_near(place, share, side) for share in small))
    return near if len(near) < (side // 2) ** 2 else None


def _is_near(square: tuple[int, int], share: Box, side: int) -> bool:
    left, top, right, bottom = (side * value for value in share)
    row, column = square
    return _meets(row, top, bottom) and _meets(column, left, right)


def _meets(square: int, first: float, last: float) -> bool:
    return 2 * square < last + _MARGIN and 2 * square + 2 > first - _MARGIN
