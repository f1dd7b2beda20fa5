"""How fine a grid of cells objects need: `grid: auto`.

A Hadamard block of 6 x 6 cells takes 72 masks, of 8 x 8 cells 128, of 16 x 16 cells 512; an object that spans several
cells is told apart from its surroundings by the coarse grid as well.
"""

from collections.abc import Sequence

from app.contract.schemas import Box

_SIDES = (6, 8, 10, 12, 14, 16)
FINEST = _SIDES[-1]
_CELLS_PER_OBJECT = 3


def coarsest_grid(boxes: Sequence[Box], view: Box) -> int:
    """Return the fewest cells along each side at which the shorter side of the smallest box still spans three cells.

    Args:
        boxes: x0, y0, x1, y1 in pixels of the image; what lies outside of the canvas does not count.
        view: x0, y0, x1, y1 of the canvas in pixels of the image.

    Returns:
        6, 8, 10, 12, 14 or 16; 16 too where not even that is enough.
    """
    smallest = min(min(_shares(box, view)) for box in boxes)
    return next((side for side in _SIDES if side * smallest >= _CELLS_PER_OBJECT), FINEST)


def _shares(box: Box, view: Box) -> tuple[float, float]:
    """Return how much of the canvas' width and height a box covers, 0..1 each."""
    (left, top, right, bottom), (x0, y0, x1, y1) = box, view
    width, height = min(right, x1) - max(left, x0), min(bottom, y1) - max(top, y0)
    return width / (x1 - x0), height / (y1 - y0)
