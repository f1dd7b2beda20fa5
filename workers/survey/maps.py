"""What is measured of one map: how much of it is inside the objects, and the map on two small grids."""

from dataclasses import dataclass

import numpy as np

from app.contract.saliency.geometry import Array, Viewport, resampled
from app.contract.schemas import Box
from app.contract.survey import GRID
from workers.survey.regions import Region

_FINE = 4  # samples along each side of a cell
_MARGIN = 0.5  # of the box's sides around it, so that the box is the middle half of the grid


@dataclass(frozen=True)
class MapFigures:
    """Figures of a map.

    Attributes:
        inside: share of the positive saliency inside the region; None where there is none anywhere.
        area: share of the picture inside the region.
        hit: whether the largest value is inside.
        picture: positive saliency on a grid over the picture, `[16, 16]`.
        around: the same on a grid whose middle half is the objects' box; 0 outside of the picture.
    """

    inside: float | None
    area: float
    hit: bool
    picture: Array
    around: Array


def measure_map(values: Array, frame: Viewport, region: Region, box: Box) -> MapFigures:
    """Return the figures of a map.

    Args:
        values: `[H, W]` of the frame.
        frame: shows the whole image.
        region: `[H, W]`, where the objects are.
        box: around them, in pixels of the image.
    """
    positive = np.clip(values, 0, None)
    total = float(positive.sum())
    return MapFigures(
        inside=float(positive[region].sum()) / total if total > 0 else None,
        area=float(region.mean()),
        hit=bool(region.flat[int(values.argmax())]),
        picture=_on_grid(positive, frame, frame.view),
        around=_on_grid(positive, frame, _widened(box)),
    )


def _widened(box: Box) -> Box:
    x0, y0, x1, y1 = box
    across, down = _MARGIN * (x1 - x0), _MARGIN * (y1 - y0)
    return x0 - across, y0 - down, x1 + across, y1 + down


def _on_grid(values: Array, frame: Viewport, view: Box) -> Array:
    fine = resampled(values, frame, Viewport(GRID * _FINE, GRID * _FINE, view))
    return np.asarray(fine.reshape(GRID, _FINE, GRID, _FINE).mean((1, 3)), dtype=np.float32)
