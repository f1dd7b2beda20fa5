"""The map in colours, as a PNG; K > 1 fills side by side on one scale."""

import io

from app.colors import colored, shares
from app.formats import Sheet, Style
from app.panels import side_by_side

ENDING = "png"
MEDIA_TYPE = "image/png"


def encode(sheet: Sheet, style: Style) -> bytes:
    """Return the bytes of a PNG."""
    signed = style.signed or len(sheet.fills) > 1
    share = shares(sheet.drawn.values, signed=signed)
    buffer = io.BytesIO()
    side_by_side(list(colored(share, name=style.cmap, signed=signed)), sheet.fills).save(buffer, "PNG")
    return buffer.getvalue()
