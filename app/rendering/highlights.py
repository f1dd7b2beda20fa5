"""What speaks for a target most, as masks of the image's own size: what labelling tools show in the place of a map.

Maps are smooth, so regions are found at a bounded size and enlarged.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contract.saliency.geometry import Array
from app.contract.schemas import Box, ExplanationRecord, ImageInfo
from app.contract.storage.object_store import BlobStore
from app.rendering.formats import require_single_fill
from app.rendering.renderer import MapTarget, render_map

_DRAWN_SIDE = 1024


def render_single_fill(record: ExplanationRecord, blobs: BlobStore, subject: MapTarget) -> Array:
    """Return the map of a target, `[H, W]`, at the size at which regions of it are found.

    Raises:
        RiseError: `invalid-parameters` where there are several fills to choose from.
    """
    return require_single_fill(render_map(record, blobs, subject, max_side=_DRAWN_SIDE))


def crop_to_box(values: Array, box: Box, image: ImageInfo) -> Array:
    """Return a map, `[H, W]`, that is 0 outside of a box in pixels of the image."""
    scale_x, scale_y = values.shape[1] / image.width, values.shape[0] / image.height
    left, right = int(box[0] * scale_x), int(np.ceil(box[2] * scale_x))
    top, bottom = int(box[1] * scale_y), int(np.ceil(box[3] * scale_y))
    inside = np.zeros_like(values)
    inside[top:bottom, left:right] = values[top:bottom, left:right]
    return inside


def resize_mask(mask: NDArray[np.bool_], image: ImageInfo) -> NDArray[np.bool_]:
    """Return a mask in the size of the image."""
    picture = Image.fromarray(mask).resize((image.width, image.height), Image.Resampling.NEAREST)
    return np.asarray(picture, dtype=bool)
