"""From cells to pixels: interpolation matrices, their second moment, and maps drawn from block effects.

NumPy only, shared by both processes: workers render masks with these matrices, the front end draws maps with them.

Masks follow RISE (Petsiuk, Das, Saenko, BMVC 2018): coarse random cells, up-sampled bilinearly to one cell more than
the canvas needs and cropped at a random shift; beyond the border the cells are mirrored, as the authors' code does
(clamping, as most libraries do, raises the variance of masks at the border and inflates maps there).
Up-sampling and crop are linear and separable, so a mask is `rows @ cells @ columns.T`, and so is a map.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.tiling import Squares, Tiling

Array = NDArray[np.float32]

# The plastic number's powers: the two-dimensional low-discrepancy sequence of M. Roberts (2018).
_PLASTIC = 1.32471795724474602596
_STEPS = np.array([1 / _PLASTIC, 1 / _PLASTIC**2])
_SHIFT_STREAM = 0x5348494654  # keys the random offset apart from the blocks' own states


@dataclass(frozen=True)
class Axis:
    """One side of the canvas: how cells along it become pixels.

    Attributes:
        pixels: length of the canvas along this side.
        cells: number of cells along this side.
    """

    pixels: int
    cells: int

    @property
    def cell(self) -> int:
        """Pixels per cell, rounded up; shifts run over `0..cell-1`."""
        return -(-self.pixels // self.cells)

    def rows(self, shift: int) -> Array:
        """Return the interpolation weights at one shift, `[pixels, cells]`, each row summing to 1."""
        return _upsampling(self.pixels, self.cells)[shift : shift + self.pixels]

    def second_moment(self) -> Array:
        """Return the mean over shifts of the sum of squared weights, `[pixels]`; a mask's variance is p(1-p) times it.

        The canvas' v1 is the outer product of its two sides' second moments.
        """
        return _second_moment(self.pixels, self.cells)


@lru_cache(maxsize=64)
def _upsampling(pixels: int, cells: int) -> Array:
    cell = -(-pixels // cells)
    length = (cells + 1) * cell
    position = (np.arange(length) + 0.5) * cells / length - 0.5  # half-pixel centres
    below = np.floor(position).astype(int)
    weights = np.zeros((length, cells))
    for neighbour, weight in ((below, 1 - (position - below)), (below + 1, position - below)):
        np.add.at(weights, (np.arange(length), _mirrored(neighbour, cells)), weight)
    return weights.astype(np.float32)


def _mirrored(index: NDArray[np.int_], cells: int) -> NDArray[np.int_]:
    if cells == 1:
        return np.zeros_like(index)
    period = 2 * (cells - 1)
    folded = np.abs(index) % period
    return np.asarray(np.minimum(folded, period - folded))


@lru_cache(maxsize=64)
def _second_moment(pixels: int, cells: int) -> Array:
    squared = _upsampling(pixels, cells).astype(np.float64) ** 2
    cell = -(-pixels // cells)
    per_row = squared.sum(axis=1)
    return np.asarray(np.mean([per_row[shift : shift + pixels] for shift in range(cell)], axis=0), dtype=np.float32)


@dataclass(frozen=True)
class Canvas:
    """The pixel grid on which masks are applied, and what part of the uploaded image it shows.

    Attributes:
        height: canvas rows in pixels.
        width: canvas columns in pixels.
        grid: cells along the height and along the width.
        view: x0, y0, x1, y1 of the canvas in pixels of the upright image; beyond the image where the model pads it.
        seed: of the explanation; decides the shifts of all blocks.
        refined: as of `Tiling`.
    """

    height: int
    width: int
    grid: tuple[int, int]
    view: tuple[float, float, float, float]
    seed: int
    refined: Squares | None = None

    @cached_property
    def tiling(self) -> Tiling:
        """Which cells share a state."""
        return Tiling(self.grid, self.refined)

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """The vertical and the horizontal side."""
        return Axis(self.height, self.grid[0]), Axis(self.width, self.grid[1])

    def shift(self, block: int) -> tuple[int, int]:
        """Return the vertical and horizontal shift of one block: a pure function of seed and block."""
        offset = np.random.Generator(np.random.Philox(key=[self.seed, _SHIFT_STREAM])).random(2)
        point = (offset + (block + 1) * _STEPS) % 1.0
        vertical, horizontal = self.axes
        return int(point[0] * vertical.cell), int(point[1] * horizontal.cell)


@dataclass(frozen=True)
class Viewport:
    """The pixels for which a map is drawn.

    Attributes:
        height: rows of the map.
        width: columns of the map.
        view: x0, y0, x1, y1 of what the map shows, in pixels of the upright image.
    """

    height: int
    width: int
    view: tuple[float, float, float, float]


def viewport_of_image(width: int, height: int, *, max_side: int | None = None) -> Viewport:
    """Return the frame that shows the whole image, at its own size or with the longer side at most `max_side`."""
    scale = 1.0 if max_side is None else min(1.0, max_side / max(width, height))
    return Viewport(
        max(1, round(height * scale)), max(1, round(width * scale)), (0.0, 0.0, float(width), float(height))
    )


def viewport_of_canvas(canvas: Canvas, *, max_side: int) -> Viewport:
    """Return the frame that shows the canvas, the longer side at most `max_side`: maps are smooth between cells."""
    scale = min(1.0, max_side / max(canvas.width, canvas.height))
    return Viewport(max(1, round(canvas.height * scale)), max(1, round(canvas.width * scale)), canvas.view)


class BlockRenderer:
    """Draws block effects of one canvas into one frame.

    A block's map is `render(effects) / v1` on the canvas, resampled to the frame. All three steps are linear and
    separable, so each block costs two small products at the frame's size.
    """

    def __init__(self, canvas: Canvas, frame: Viewport) -> None:
        self._canvas = canvas
        vertical, horizontal = canvas.axes
        to_rows, to_columns = _between(Viewport(canvas.height, canvas.width, canvas.view), frame)
        self._to_rows = to_rows / vertical.second_moment()
        self._to_columns = to_columns / horizontal.second_moment()

    def block(self, effects: Array, block: int) -> Array:
        """Return the map of one block.

        Args:
            effects: `[..., h, w]`, change of the score per cell.
            block: its index, which decides the shift.

        Returns:
            `[..., H, W]` of the frame, in units of the score.
        """
        vertical, horizontal = self._canvas.axes
        dy, dx = self._canvas.shift(block)
        rows, columns = self._to_rows @ vertical.rows(dy), self._to_columns @ horizontal.rows(dx)
        return np.asarray(rows @ effects @ columns.T, dtype=np.float32)


def resampled(values: Array, source: Viewport, target: Viewport) -> Array:
    """Resample a map from one frame to another, bilinearly.

    Args:
        values: `[..., H, W]` of the source.
        source: what the map shows.
        target: what it shall show.

    Returns:
        `[..., H, W]` of the target; 0 where the source shows nothing, because the model never saw it.
    """
    if source == target:
        return values
    rows, columns = _between(source, target)
    return np.asarray(rows @ values @ columns.T, dtype=np.float32)


def _between(source: Viewport, target: Viewport) -> tuple[Array, Array]:
    """Return `[H', H]` and `[W', W]` weights from the pixels of one frame to those of another."""
    (left, top, right, bottom), (x0, y0, x1, y1) = source.view, target.view
    return (
        _resampling(source.height, (top, bottom), target.height, (y0, y1)),
        _resampling(source.width, (left, right), target.width, (x0, x1)),
    )


def _resampling(source: int, source_span: tuple[float, float], size: int, span: tuple[float, float]) -> Array:
    """Return `[size, source]` bilinear weights from canvas pixels to frame pixels; rows outside the canvas are 0."""
    image = span[0] + (np.arange(size) + 0.5) * (span[1] - span[0]) / size
    relative = (image - source_span[0]) / (source_span[1] - source_span[0])
    position = np.clip(relative * source - 0.5, 0, source - 1)
    below = np.minimum(np.floor(position).astype(int), max(source - 2, 0))
    weights = np.zeros((size, source))
    weights[np.arange(size), below] = 1 - (position - below)
    weights[np.arange(size), np.minimum(below + 1, source - 1)] += position - below
    weights[(relative < 0) | (relative > 1)] = 0
    return weights.astype(np.float32)
