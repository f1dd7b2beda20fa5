"""The map in colours, as a PNG; K > 1 fills side by side on one scale."""

import io

import numpy as np
from PIL import Image

from app.colors import colored, shares
from app.formats import Sheet, Style

ENDING = "png"
MEDIA_TYPE = "image/png"


def encode(sheet: Sheet, style: Style) -> bytes:
    """Return the bytes of a PNG."""
    signed = style.signed or len(sheet.drawn.values) > 1
    share = shares(np.concatenate(sheet.drawn.values, axis=1), signed=signed)
    buffer = io.BytesIO()
    Image.fromarray(colored(share, name=style.cmap, signed=signed)).save(buffer, "PNG")
    return buffer.getvalue()
