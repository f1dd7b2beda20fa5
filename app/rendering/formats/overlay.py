"""The image, dimmed and grey, with the colours of its map over it."""

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


def encode(rendered: RenderedMap, options: RenderOptions) -> bytes:
    """Return the bytes of a PNG; K > 1 fills stand side by side on one scale."""
    signed = options.signed or len(rendered.fills) > 1
    height, width = rendered.drawn.values.shape[1:]
    image = np.asarray(_resized(rendered.image(), (width, height)))
    strongest = max_abs(rendered.drawn.values, signed=signed)
    panels = [
        _framed(_over(image, part, strongest, options, signed=signed), rendered) for part in rendered.drawn.values
    ]
    buffer = io.BytesIO()
    stack_panels(panels, rendered.fills).save(buffer, "PNG")
    return buffer.getvalue()


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _framed(panel: NDArray[np.uint8], rendered: RenderedMap) -> NDArray[np.uint8]:
    """Draw the box of a detection, white with a black edge so that it shows on anything."""
    if rendered.target.box is None:
        return panel
    scale = panel.shape[1] / rendered.record.image.width
    x0, y0, x1, y1 = (side * scale for side in rendered.target.box)
    framed = Image.fromarray(panel)
    pen = ImageDraw.Draw(framed)
    for grow, color in ((1, "black"), (0, "white")):
        corners = (min(x0, x1) - grow, min(y0, y1) - grow, max(x0, x1) + grow, max(y0, y1) + grow)
        pen.rectangle(corners, outline=color, width=1 + 2 * grow)
    return np.asarray(framed)


def _dimmed(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Desaturate an image by 65 %, so that the colours of the map stand out."""
    values = image.astype(np.float32)
    grey = values @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return 0.35 * values + 0.65 * grey[..., None]


def _over(
    image: NDArray[np.uint8], values: NDArray[np.float32], strongest: float, options: RenderOptions, *, signed: bool
) -> NDArray[np.uint8]:
    """Return a panel, computed 64 rows at a time, because a large photograph as float32 takes gigabytes."""
    panel = np.empty_like(image)
    for top in range(0, len(image), _ROWS):
        rows = slice(top, top + _ROWS)
        share = scaled(values[rows], strongest, signed=signed)
        opacity = options.alpha * np.clip(np.abs(share) / _FULL_AT, 0, 1)[..., None]
        colors = apply_colormap(share, name=options.cmap, signed=signed).astype(np.float32)
        panel[rows] = np.rint(_dimmed(image[rows]) * (1 - opacity) + colors * opacity)
    return panel
