"""The map as a NumPy array: float32 `[H, W]`, or `[K, H, W]` where there are K > 1 fills."""

import io

import numpy as np

from app.rendering.formats import RenderedMap, RenderOptions

ENDING = "npy"
MEDIA_TYPE = "application/x-npy"


def encode(rendered: RenderedMap, _: RenderOptions) -> bytes:
    """Return the bytes of a `.npy` file."""
    buffer = io.BytesIO()
    values = rendered.drawn.values
    np.save(buffer, values[0] if len(values) == 1 else values, allow_pickle=False)
    return buffer.getvalue()
