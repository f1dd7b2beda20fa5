"""Pictures of shapes over photographs, drawn from a seeded generator: what the demo models learn from.

Neither color, nor grain, size or place tells one shape from another; only the outline does. Shapes are turned by up to
30 degrees, and stretched by up to 4:3 either way because users' photographs are stretched to a square.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bench.demo_training.backgrounds import Pixels
from bench.demo_training.outlines import Box, Placement, cover, enclose
from workers.demo.shape_names import SHAPES

_LARGEST_STRETCH = 4 / 3
_LARGEST_TURN = np.pi / 6
# How far each outline is turned to stand upright.
UPRIGHT = {"circle": 0.0, "square": np.pi / 4, "triangle": -np.pi / 2, "star": -np.pi / 2, "cross": 0.0, "ring": 0.0}
_LEAST_CONTRAST = 120.0
_LARGEST_OVERLAP = 0.05
_ATTEMPTS = 50


@dataclass(frozen=True)
class DrawnObject:
    """One shape in a picture.

    Attributes:
        label: index into `SHAPES`.
        box_xyxy: tight box of the whole shape in continuous pixel coordinates.
        mask: boolean `[H, W]`, the pixels that show the shape (more than half covered, nothing drawn over it).
    """

    label: int
    box_xyxy: Box
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Picture:
    """A drawn picture and what is in it.

    Attributes:
        image: RGB `[H, W, 3]`.
        objects: in drawing order, the last one on top.
        mark_xyxy: the box of the copyright mark in whole pixels; None where there is no mark.
    """

    image: Pixels
    objects: tuple[DrawnObject, ...]
    mark_xyxy: tuple[int, int, int, int] | None = None


def draw_one_object(generator: Generator, background: Pixels, *, labels: Sequence[int] = range(len(SHAPES))) -> Picture:
    """Draw one shape of a random label, 0.3 to 0.8 of the side wide before its stretch, on a square `[S, S, 3]`."""
    label = labels[int(generator.integers(len(labels)))]
    return _soften(generator, draw_placed(generator, background, [_place_alone(generator, label, background)]))


def draw_several_objects(generator: Generator, background: Pixels) -> Picture:
    """Draw one to four shapes that hardly overlap on a square background `[S, S, 3]`."""
    placements: list[Placement] = []
    for label in generator.integers(len(SHAPES), size=generator.integers(1, 5)):
        for _ in range(_ATTEMPTS):
            placement = _place(generator, int(label), len(background), radii=(0.09, 0.26))
            if all(_overlap(enclose(placement), enclose(other)) <= _LARGEST_OVERLAP for other in placements):
                placements.append(placement)
                break
    return _soften(generator, draw_placed(generator, background, placements))


def draw_placed(generator: Generator, background: Pixels, placements: Sequence[Placement]) -> Picture:
    """Draw shapes at given places, in random colors that stand out from what lies under them.

    Args:
        background: RGB `[H, W, 3]`; it is left as it is.
        placements: drawn in this order.
    """
    image = background.astype(np.float32)
    objects: list[DrawnObject] = []
    for placement in placements:
        mask = _draw(generator, image, placement)
        objects = [replace(earlier, mask=earlier.mask & ~mask) for earlier in objects]
        objects.append(DrawnObject(placement.label, enclose(placement), mask))
    return Picture(np.clip(image.round(), 0, 255).astype(np.uint8), tuple(objects))


def _draw(generator: Generator, image: NDArray[np.float32], placement: Placement) -> NDArray[np.bool_]:
    """Draw one shape into an image `[H, W, 3]`, in place, and return the mask `[H, W]` of what it covers."""
    x1, y1, x2, y2 = enclose(placement)
    left, top = max(int(x1), 0), max(int(y1), 0)
    window = image[top : int(y2) + 1, left : int(x2) + 1]
    size = window.shape[0], window.shape[1]
    (x, y), mask = placement.centre_xy, np.zeros(image.shape[:2], dtype=bool)
    coverage = cover(replace(placement, centre_xy=(x - left, y - top)), size)
    covered = coverage > 0.5
    window += coverage[:, :, None] * (_paint(generator, size, window[covered].mean(axis=0)) - window)
    mask[top : top + size[0], left : left + size[1]] = covered
    return mask


def _place(generator: Generator, label: int, side: int, *, radii: tuple[float, float]) -> Placement:
    """Return a random place inside the picture; `radii` are the extremes of the radius as fractions of the side."""
    radius = side * np.exp(generator.uniform(*np.log(radii)))
    stretch = np.exp(generator.uniform(-0.5, 0.5) * np.log(_LARGEST_STRETCH))
    radii_xy = (min(radius * stretch, 0.47 * side), min(radius / stretch, 0.47 * side))
    centre_x, centre_y = (float(generator.uniform(extent, side - extent)) for extent in radii_xy)
    turn = float(generator.uniform(-_LARGEST_TURN, _LARGEST_TURN))
    return Placement(label, (centre_x, centre_y), radii_xy, UPRIGHT[SHAPES[label]] + turn)


def _place_alone(generator: Generator, label: int, background: Pixels) -> Placement:
    """Return a random place for the only shape on a square background."""
    return _place(generator, label, len(background), radii=(0.15, 0.40))


def _paint(generator: Generator, size: tuple[int, int], surroundings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a gradient between two related colors with a little grain, `[H, W, 3]` in about 0..255."""
    color = _contrasting_color(generator, surroundings)
    other = np.clip(color + generator.uniform(-40, 40, size=3), 0, 255)
    rows, columns = np.linspace(-1, 1, size[0])[:, None], np.linspace(-1, 1, size[1])[None, :]
    angle = generator.uniform(0, 2 * np.pi)
    share = (1 + np.cos(angle) * columns + np.sin(angle) * rows) / 2  # [H, W]
    grain = generator.uniform(0, 8) * generator.standard_normal((*size, 1), dtype=np.float32)
    return np.asarray(color + share[:, :, None] * (other - color) + grain, dtype=np.float32)


def _contrasting_color(generator: Generator, surroundings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the first random color far enough from the surroundings, or else the farthest of those tried."""
    colors = generator.uniform(0, 255, size=(_ATTEMPTS, 3))
    distances = np.linalg.norm(colors - surroundings, axis=1)
    far_enough = distances >= _LEAST_CONTRAST
    chosen = int(far_enough.argmax() if far_enough.any() else distances.argmax())
    return np.asarray(colors[chosen])


def _soften(generator: Generator, picture: Picture) -> Picture:
    """Return a third of the pictures a little out of focus, as enlarged pictures are, and the rest as they are."""
    if generator.random() > 1 / 3:
        return picture
    blur = ImageFilter.GaussianBlur(generator.uniform(0.3, 1.0))
    return replace(picture, image=np.asarray(Image.fromarray(picture.image).filter(blur)))


def _overlap(first: Box, second: Box) -> float:
    """Return the share of the smaller box that lies in the other one."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return max(width, 0.0) * max(height, 0.0) / min(areas)
