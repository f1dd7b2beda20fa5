"""The region that holds a share of the positive saliency (`?level=`), as a black and white PNG: 255 is inside."""

import io

from PIL import Image

from app.rendering.formats import RenderedMap, RenderOptions, require_single_fill
from app.rendering.regions import top_mass_region

ENDING = "mask.png"
MEDIA_TYPE = "image/png; mask=1"
ONE_FILL = True


def encode(rendered: RenderedMap, options: RenderOptions) -> bytes:
    """Return the bytes of an 8-bit grey PNG, because not every tool reads one bit."""
    inside = top_mass_region(require_single_fill(rendered), options.level)
    buffer = io.BytesIO()
    Image.fromarray(inside).convert("L").save(buffer, "PNG")
    return buffer.getvalue()
