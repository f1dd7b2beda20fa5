"""Saliency maps from stored effects: the mean of block maps and its standard error.

A map is rendered when it is requested, at the requested size and without a worker. Block maps are rendered on the
canvas, at a bounded size because maps are smooth between cells; their mean and spread are resampled to the viewport.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.error_bars import degrees_of_freedom, standard_error
from app.contract.saliency.geometry import Array, BlockRenderer, Canvas, Viewport, resampled, viewport_of_canvas
from app.contract.saliency.running_moments import RunningMoments
from app.contract.saliency.wiener_filter import wiener_shrink
from app.contract.schemas import State

_MAX_CANVAS_SIDE = 512


@dataclass(frozen=True)
class SaliencyMap:
    """A saliency map with its error bars.

    Attributes:
        values: `[K, H, W]`, change of the score when a pixel becomes visible; unscaled, shrunk where it is noise.
        standard_error: `[K, H, W]`; None before there are two blocks.
        degrees_of_freedom: of the standard error: a 95 % interval is as wide as Student's t says.
        reliability: expected correlation with the fully converged map, 0..1; None before there are two blocks.
    """

    values: Array
    standard_error: Array | None
    degrees_of_freedom: int
    reliability: float | None


def canvas_of(state: State) -> Canvas:
    """Return the canvas on which an explanation's masks lie."""
    info = state.canvas
    return Canvas(info.height, info.width, info.grid, info.view, state.seed, info.refined)


def draw(state: State, arrays: Iterable[NDArray[np.float32]], row: int, frame: Viewport) -> SaliencyMap:
    """Draw one row of an explanation.

    Args:
        state: what was stored.
        arrays: the arrays of its checkpoints, in their order.
        row: row of the effects.
        frame: the pixels to draw.
    """
    canvas = canvas_of(state)
    if state.kind == "moments":
        moments, source = (
            _stored_moments(state, arrays, row),
            viewport_of_canvas(canvas, max_side=canvas.height + canvas.width),
        )
    else:
        source = viewport_of_canvas(canvas, max_side=_MAX_CANVAS_SIDE)
        moments = _drawn_moments(canvas, source, arrays, row)
    if moments.mean is None:
        raise ValueError("there are no effects to draw yet")
    error, values, reliability = standard_error(moments, canvas.tiling), moments.mean, moments.reliability()
    if state.shrink:
        values, reliability = wiener_shrink(moments, canvas.tiling)
    return SaliencyMap(
        resampled((values[0] * state.scale).astype(np.float32), source, frame),
        None if error is None else resampled((error[0] * abs(state.scale)).astype(np.float32), source, frame),
        degrees_of_freedom(moments.count, published=state.kind == "moments"),
        None if reliability is None else reliability[0],
    )


def _drawn_moments(canvas: Canvas, source: Viewport, arrays: Iterable[NDArray[np.float32]], row: int) -> RunningMoments:
    pen, moments = BlockRenderer(canvas, source), RunningMoments()
    for array in arrays:
        for effects in array[:, row]:
            moments.add(pen.block(effects, moments.count)[None])
    return moments


def _stored_moments(state: State, arrays: Iterable[NDArray[np.float32]], row: int) -> RunningMoments:
    *_, array = arrays
    mean, deviation = array[:, row].astype(np.float64)
    return RunningMoments(state.blocks, mean[None], deviation[None])
