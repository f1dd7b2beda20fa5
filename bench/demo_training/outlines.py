"""The outlines of the six shapes, and where in a picture one of them lies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.demo.shape_names import SHAPES

Box = tuple[float, float, float, float]


_SUPERSAMPLING = 4
_HOLE_OF_THE_RING = 0.55


@dataclass(frozen=True)
class Placement:
    """One shape somewhere in a picture.

    Attributes:
        label: index into `SHAPES`.
        centre_xy: of the circumscribed ellipse, in pixels, continuous coordinates.
        radii_xy: of the circumscribed ellipse, in pixels; unequal radii are a stretched picture.
        angle: in radians, applied before the stretch, as a camera turns before a picture is stretched.
    """

    label: int
    centre_xy: tuple[float, float]
    radii_xy: tuple[float, float]
    angle: float


def trace(placement: Placement) -> list[NDArray[np.float64]]:
    """Return the closed polygons `[N, 2]` of a placed shape in pixels: its border and, for a ring, its hole."""
    cosine, sine = np.cos(placement.angle), np.sin(placement.angle)
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    return [
        polygon @ rotation * np.array(placement.radii_xy) + np.array(placement.centre_xy)
        for polygon in _unit_polygons(SHAPES[placement.label])
    ]


def enclose(placement: Placement) -> Box:
    """Return the tight box `x1, y1, x2, y2` of a placed shape in continuous pixel coordinates."""
    border = trace(placement)[0]
    (x1, y1), (x2, y2) = border.min(axis=0), border.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def cover(placement: Placement, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return how much of each pixel a placed shape covers, `[H, W]` in 0..1 (anti-aliased); `size` is H, W."""
    height, width = size
    canvas = Image.new("L", (width * _SUPERSAMPLING, height * _SUPERSAMPLING))
    pen = ImageDraw.Draw(canvas)
    for polygon, ink in zip(trace(placement), (255, 0), strict=False):
        # Pillow's integers name pixel centres, continuous coordinates name pixel corners.
        corners = polygon * _SUPERSAMPLING - 0.5
        pen.polygon([(float(x), float(y)) for x, y in corners], fill=ink)
    coverage = np.asarray(canvas.reduce(_SUPERSAMPLING), dtype=np.float32)
    return np.asarray(coverage / 255, dtype=np.float32)


def _unit_polygons(shape: str) -> list[NDArray[np.float64]]:
    """Return the polygons of a shape whose corners lie on or in the unit circle."""
    match shape:
        case "circle":
            return [_corners(64)]
        case "square":
            return [_corners(4)]
        case "triangle":
            return [_corners(3)]
        case "star":
            return [_star()]
        case "cross":
            return [_cross()]
        case "ring":
            return [_corners(64), _corners(64) * _HOLE_OF_THE_RING]
    raise ValueError(f"no shape is called {shape!r}; the shapes are {', '.join(SHAPES)}")


def _corners(count: int) -> NDArray[np.float64]:
    """Return the corners `[count, 2]` of a regular polygon on the unit circle, the first one to the right."""
    turns = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1)


def _star() -> NDArray[np.float64]:
    """Return a five-pointed star `[10, 2]`, a little plumper than a pentagram (inner radius 0.42, not 0.38)."""
    return np.asarray(_corners(10) * np.tile([1.0, 0.42], 5)[:, None])


def _cross() -> NDArray[np.float64]:
    """Return an upright cross `[12, 2]` whose arms are a third as wide as they are long from tip to tip."""
    long, short = np.cos(np.arctan(1 / 3)), np.sin(np.arctan(1 / 3))
    arm = np.array([[long, -short], [long, short], [short, short]])
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter, turn) for turn in range(4)])
