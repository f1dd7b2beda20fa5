"""Regions of the strongest saliency, as masks of the image's size, for labelling tools that show no maps.

Maps are smooth, so regions are computed at a bounded size and enlarged.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contract.saliency.geometry import Array
from app.contract.schemas import Box, ExplanationRecord, ImageInfo
from app.rendering.formats import require_single_fill
from app.rendering.renderer import MapTarget, Renderer

T = TypeVar("T")

_MAX_SIDE = 1024


def highlight(renderer: Renderer, record: ExplanationRecord, subject: MapTarget, make: Callable[[Array], T]) -> T:
    """Render the map of a target and return what `make` returns for it.

    Args:
        renderer: renders it.
        record: an explanation.
        subject: what its map shows.
        make: converts the map, `[H, W]`, to regions in the format of a tool.

    Raises:
        RiseError: `invalid-parameters` where there are several fills to choose from.
    """
    return renderer.render(record, subject, lambda rendered: make(require_single_fill(rendered)), max_side=_MAX_SIDE)


def crop_to_box(values: Array, box: Box, image: ImageInfo) -> Array:
    """Return a map, `[H, W]`, that is 0 outside of a box in pixels of the image."""
    scale_x, scale_y = values.shape[1] / image.width, values.shape[0] / image.height
    left, right = int(box[0] * scale_x), int(np.ceil(box[2] * scale_x))
    top, bottom = int(box[1] * scale_y), int(np.ceil(box[3] * scale_y))
    inside = np.zeros_like(values)
    inside[top:bottom, left:right] = values[top:bottom, left:right]
    return inside


def resize_mask(mask: NDArray[np.bool_], image: ImageInfo) -> NDArray[np.bool_]:
    """Return a mask resized to the image."""
    resized = Image.fromarray(mask).resize((image.width, image.height), Image.Resampling.NEAREST)
    return np.asarray(resized, dtype=bool)
