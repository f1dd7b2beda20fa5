"""The regions of annotated objects as pixels of a frame."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from app.contract.saliency.geometry import Array, Viewport
from app.contract.survey import AnnotatedObject, RunLengths

Region = NDArray[np.bool_]

_FEATHER = 0.04
"""Of the longer side: how far what hides an object reaches beyond it, so that no outline of it is left to be seen."""


def region_of(objects: Iterable[AnnotatedObject], frame: Viewport) -> Region:
    """Return where the union of objects is, `[H, W]` of a frame that shows the whole image."""
    inside = np.zeros((frame.height, frame.width), dtype=bool)
    for item in objects:
        inside |= _region(item, frame)
    return inside


def _region(item: AnnotatedObject, frame: Viewport) -> Region:
    if item.runs is not None:
        return _resized(decode_runs(item.runs), frame)
    x0, y0, x1, y1 = item.box
    polygons = item.polygons or [[x0, y0, x1, y0, x1, y1, x0, y1]]
    canvas = Image.new("1", (frame.width, frame.height))
    pen = ImageDraw.Draw(canvas)
    across, down = frame.width / frame.view[2], frame.height / frame.view[3]
    for polygon in polygons:
        xs, ys = np.asarray(polygon[::2]) * across - 0.5, np.asarray(polygon[1::2]) * down - 0.5  # pixel centres
        pen.polygon([*zip(xs.tolist(), ys.tolist(), strict=True)], fill=1)
    return np.asarray(canvas, dtype=bool)


def decode_runs(runs: RunLengths) -> Region:
    """Return the mask of run lengths, `[height, width]`."""
    values = np.arange(len(runs.counts)) % 2 == 1
    return np.repeat(values, runs.counts).reshape(runs.width, runs.height).T


def _resized(mask: Region, frame: Viewport) -> Region:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize((frame.width, frame.height), Image.Resampling.BOX)) >= 128


def hiding_mask(region: Region) -> Array:
    """Return how much of each pixel is hidden, `[H, W]`, 0..1: all of a region and of a margin, with a soft border."""
    reach = max(1, round(_FEATHER * max(region.shape)))
    picture = Image.fromarray(region.astype(np.uint8) * 255)
    wider = picture.filter(ImageFilter.MaxFilter(2 * reach + 1)).filter(ImageFilter.GaussianBlur(reach / 2))
    return np.asarray(np.asarray(wider) / 255, dtype=np.float32)


def box_around(objects: Iterable[AnnotatedObject]) -> tuple[float, float, float, float]:
    """Return the smallest box around objects."""
    boxes = np.asarray([item.box for item in objects])
    (x0, y0), (x1, y1) = boxes[:, :2].min(0).tolist(), boxes[:, 2:].max(0).tolist()
    return x0, y0, x1, y1
