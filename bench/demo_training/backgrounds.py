"""What lies behind the shapes: crops of real photographs, and for training collages of them.

A handful of photographs is little to learn from. Collages multiply them: mirrored, turned, recolored, mixed with each
other along random curves and with smooth color, so that edges and round things of the background mean nothing.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Size = tuple[int, int]

DrawBackground = Callable[[Generator, Sequence[Pixels], Size], Pixels]


def crop_photograph(generator: Generator, photographs: Sequence[Pixels], size: Size) -> Pixels:
    """Return a random crop of a random photograph, at times mirrored, a little darker or lighter.

    Args:
        photographs: RGB `[H, W, 3]`, each of its own size.
        size: height and width of the picture; the crop is stretched to it.

    Returns:
        RGB `[*size, 3]`.
    """
    image = _crop(generator, photographs, size, least=0.4)
    if generator.random() < 0.5:
        image = image[:, ::-1]
    return np.asarray(np.clip(image * generator.uniform(0.7, 1.15), 0, 255), dtype=np.uint8)


def paste_collage(generator: Generator, photographs: Sequence[Pixels], size: Size) -> Pixels:
    """Return one or two recolored crops and smooth color mixed at random; like `crop_photograph`, far more varied."""
    image = _recolor(generator, _crop(generator, photographs, size, least=0.12))
    if generator.random() < 0.6:
        other = _recolor(generator, _crop(generator, photographs, size, least=0.12))
        image += _blobs(generator, size) * (other - image)
    if generator.random() < 0.5:
        image += generator.uniform(0.2, 1.0) * (_smooth_color(generator, size) - image)
    if generator.random() < 0.3:
        image += _blobs(generator, size) * (_smooth_color(generator, size) - image)
    if generator.random() < 0.5:
        image = _set_plates(generator, image)
    image += generator.uniform(0, 8) * generator.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def _crop(generator: Generator, photographs: Sequence[Pixels], size: Size, *, least: float) -> Pixels:
    """Return a random crop, stretched to a size; its sides are at least the share `least` of the photograph's."""
    photograph = photographs[int(generator.integers(len(photographs)))]
    height, width = photograph.shape[:2]
    rows, columns = (int(length * np.exp(generator.uniform(np.log(least), 0))) for length in (height, width))
    top, left = generator.integers(height - rows + 1), generator.integers(width - columns + 1)
    crop = Image.fromarray(photograph[top : top + rows, left : left + columns])
    return np.asarray(crop.resize(size[::-1], Image.Resampling.BILINEAR, reducing_gap=2.0))


def _recolor(generator: Generator, image: Pixels) -> NDArray[np.float32]:
    """Return a picture turned (where it is square), mirrored, its channels swapped, weighted, at times inverted."""
    image = np.rot90(image, int(generator.integers(4))) if image.shape[0] == image.shape[1] else image
    colors = image[:, :: generator.choice([-1, 1]), generator.permutation(3)].astype(np.float32)
    if generator.random() < 0.2:
        colors = 255 - colors
    weights = generator.uniform(0.5, 1.2) * generator.uniform(0.7, 1.2, size=3)
    return colors * weights.astype(np.float32) + np.float32(generator.uniform(-20, 20))


def _blobs(generator: Generator, size: Size) -> NDArray[np.float32]:
    """Return areas with curved borders, sharp or soft, `[H, W, 1]` in 0..1."""
    cells = int(generator.integers(2, 7))
    heights = Image.fromarray(generator.random((cells, cells), dtype=np.float32))
    surface = np.asarray(heights.resize(size[::-1], Image.Resampling.BICUBIC))[:, :, None]
    steepness = np.float32(np.exp(generator.uniform(np.log(2), np.log(60))))
    water_level = np.float32(generator.uniform(0.35, 0.65))
    return np.asarray(np.clip((surface - water_level) * steepness + 0.5, 0, 1))


def _set_plates(generator: Generator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a picture with one to four nested, shaded, often cut ellipses, as plates, cups, wheels and eyes are."""
    rows, columns = image.shape[:2]
    y, x = np.linspace(0, 1, rows, dtype=np.float32)[:, None], np.linspace(0, 1, columns, dtype=np.float32)[None, :]
    centre, radii = generator.uniform(-0.1, 1.1, size=2), generator.uniform(0.2, 0.8, size=2)
    distances = np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1])[:, :, None]  # [H, W, 1]
    for rim in sorted(generator.uniform(0.2, 1.0, size=generator.integers(1, 5)), reverse=True):
        inside = np.clip((rim - distances) * rows * generator.uniform(0.1, 0.5), 0, 1)
        surface = _smooth_color(generator, (rows, columns), least_drift=40)
        image = image + inside * generator.uniform(0.5, 1.0) * (surface - image)
    return image.astype(np.float32)


def _smooth_color(generator: Generator, size: Size, *, least_drift: float = 0) -> NDArray[np.float32]:
    """Return one color that drifts slowly, by a deviation of `least_drift` or up to 40 more, `[H, W, 3]` in 0..255."""
    drift = generator.normal(0, least_drift + generator.uniform(0, 40), size=(4, 4, 1))
    drift = drift + generator.normal(0, generator.uniform(0, 25), size=(4, 4, 3))
    corners = np.clip(generator.uniform(0, 255, size=3) + drift, 0, 255).astype(np.uint8)
    image = Image.fromarray(corners).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)
