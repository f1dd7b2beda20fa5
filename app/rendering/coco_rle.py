"""A mask as COCO has it: run lengths column by column, with compressed counts."""

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from app.contract.schemas import JsonObject


def segmentation(inside: NDArray[np.bool_]) -> JsonObject:
    """Return the `segmentation`, `bbox` (left, top, width, height) and `area` of an annotation.

    Args:
        inside: `[H, W]`, true inside.
    """
    encoded = coco.encode(np.asfortranarray(inside.astype(np.uint8)))
    return {
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")},
        "bbox": [float(side) for side in coco.toBbox(encoded)],
        "area": int(coco.area(encoded)),
    }
