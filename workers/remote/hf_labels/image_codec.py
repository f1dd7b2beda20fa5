"""Pictures as image files, for services that take them so."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workers.remote.http.options import PictureKind

MEDIA_TYPES: dict[PictureKind, str] = {"png": "image/png", "jpeg": "image/jpeg"}


def encoded(picture: NDArray[np.float32], kind: PictureKind) -> bytes:
    """Return a picture `[3, H, W]` in 0..1 as a file; PNG loses nothing but what lies between 256 levels."""
    levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    if kind == "png":
        image.save(file, "PNG", compress_level=1)  # because the time counts, and the network is near
    else:
        image.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
