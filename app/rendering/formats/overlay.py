"""The image with its map over it: colours grow out of a dimmed, grey picture where the model looked."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.rendering.colormap import apply_colormap, max_abs, scaled
from app.rendering.formats import RenderedMap, RenderOptions
from app.rendering.panels import stack_panels

ENDING = "overlay.png"
MEDIA_TYPE = "image/png; overlay=1"

_ROWS = 64
_FULL_AT = 0.5  # share of the strongest effect from which colours have their full opacity


def encode(sheet: RenderedMap, style: RenderOptions) -> bytes:
    """Return the bytes of a PNG; K > 1 fills stand side by side on one scale."""
    signed = style.signed or len(sheet.fills) > 1
    height, width = sheet.drawn.values.shape[1:]
    picture = np.asarray(_resized(sheet.image(), (width, height)))
    strongest = max_abs(sheet.drawn.values, signed=signed)
    panels = [_framed(_over(picture, part, strongest, style, signed=signed), sheet) for part in sheet.drawn.values]
    buffer = io.BytesIO()
    stack_panels(panels, sheet.fills).save(buffer, "PNG")
    return buffer.getvalue()


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def _framed(panel: NDArray[np.uint8], sheet: RenderedMap) -> NDArray[np.uint8]:
    """Draw the box of a detection, white with a black edge so that it shows on anything."""
    if sheet.target.box is None:
        return panel
    scale = panel.shape[1] / sheet.record.image.width
    x0, y0, x1, y1 = (side * scale for side in sheet.target.box)
    picture = Image.fromarray(panel)
    pen = ImageDraw.Draw(picture)
    for grow, color in ((1, "black"), (0, "white")):
        corners = (min(x0, x1) - grow, min(y0, y1) - grow, max(x0, x1) + grow, max(y0, y1) + grow)
        pen.rectangle(corners, outline=color, width=1 + 2 * grow)
    return np.asarray(picture)


def _dimmed(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Take half of the colour out, so that what is coloured is the map."""
    values = picture.astype(np.float32)
    grey = values @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return 0.35 * values + 0.65 * grey[..., None]


def _over(
    picture: NDArray[np.uint8], values: NDArray[np.float32], strongest: float, style: RenderOptions, *, signed: bool
) -> NDArray[np.uint8]:
    """Return a panel, made a few rows at a time: all of a large photograph in numbers would take gigabytes."""
    panel = np.empty_like(picture)
    for top in range(0, len(picture), _ROWS):
        rows = slice(top, top + _ROWS)
        share = scaled(values[rows], strongest, signed=signed)
        opacity = style.alpha * np.clip(np.abs(share) / _FULL_AT, 0, 1)[..., None]
        colors = apply_colormap(share, name=style.cmap, signed=signed).astype(np.float32)
        panel[rows] = np.rint(_dimmed(picture[rows]) * (1 - opacity) + colors * opacity)
    return panel
