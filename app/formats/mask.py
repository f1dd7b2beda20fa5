"""The region that holds a share of the positive saliency (`?level=`), as a black and white PNG: 255 is inside."""

import io

from PIL import Image

from app.formats import Sheet, Style, of_one_fill
from app.regions import region

ENDING = "mask.png"
MEDIA_TYPE = "image/png; mask=1"
ONE_FILL = True


def encode(sheet: Sheet, style: Style) -> bytes:
    """Return the bytes of an 8-bit grey PNG, because not every tool reads one bit."""
    inside = region(of_one_fill(sheet), style.level)
    buffer = io.BytesIO()
    Image.fromarray(inside).convert("L").save(buffer, "PNG")
    return buffer.getvalue()
