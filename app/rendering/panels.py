"""Images side by side, each under a name."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_HEADER = 22
_GAP = 4


def stack_panels(panels: Sequence[NDArray[np.uint8]], names: Sequence[str]) -> Image.Image:
    """Return panels `[H, W, 3]` in a row, a swatch and the fill's name above each; a single panel has neither."""
    if len(panels) == 1:
        return Image.fromarray(panels[0])
    height, width = panels[0].shape[:2]
    canvas = Image.new("RGB", (len(panels) * (width + _GAP) - _GAP, height + _HEADER), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for index, (panel, name) in enumerate(zip(panels, names, strict=True)):
        left = index * (width + _GAP)
        canvas.paste(Image.fromarray(panel), (left, _HEADER))
        color = name if re.fullmatch(r"#[0-9a-fA-F]{6}", name) or name in {"black", "white"} else "grey"
        pen.rectangle((left + 3, 4, left + 17, 18), fill=color, outline="black")
        pen.text((left + 22, 4), name, fill="black", font=font)
    return canvas


def tile_panels(panels: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """Return images of one size in a grid that is about as wide as high, each under its caption; one image has none."""
    if len(panels) == 1:
        return panels[0]
    columns, (width, height) = math.ceil(math.sqrt(len(panels))), panels[0].size
    rows = math.ceil(len(panels) / columns)
    across, down = width + _GAP, height + _HEADER + _GAP
    canvas = Image.new("RGB", (columns * across - _GAP, rows * down - _GAP), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for index, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        left, top = index % columns * across, index // columns * down
        canvas.paste(panel, (left, top + _HEADER))
        pen.text((left + 3, top + 4), caption, fill="black", font=font)
    return canvas
