"""The map in colours, as a PNG; K > 1 fills side by side on one scale.

`?bits=16` (or 8) gives grey for tools instead, linear in the value: black is `Saliency-Low`, white `Saliency-High`,
both in units of the score and written into the PNG as text and into the headers of the answer.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.rendering.colormap import apply_colormap, normalize
from app.rendering.formats import RenderedMap, RenderOptions, require_single_fill
from app.rendering.panels import stack_panels

ENDING = "png"
MEDIA_TYPE = "image/png"


def encode(rendered: RenderedMap, options: RenderOptions) -> bytes:
    """Return the bytes of a PNG."""
    if options.bits is not None:
        return _grey(require_single_fill(rendered), options.bits)
    signed = options.signed or len(rendered.fills) > 1
    share = normalize(rendered.drawn.values, signed=signed)
    buffer = io.BytesIO()
    stack_panels(list(apply_colormap(share, name=options.cmap, signed=signed)), rendered.fills).save(buffer, "PNG")
    return buffer.getvalue()


def _grey(values: NDArray[np.float32], bits: int) -> bytes:
    low, high = float(values.min()), float(values.max())
    pixels = np.zeros(values.shape, dtype=np.uint16 if bits == 16 else np.uint8)
    for row, pixel_row in zip(values, pixels, strict=True) if high > low else ():
        pixel_row[:] = np.rint((row.astype(np.float64) - low) / (high - low) * (2**bits - 1))
    text = PngInfo()
    text.add_text("Saliency-Low", repr(low))
    text.add_text("Saliency-High", repr(high))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()
