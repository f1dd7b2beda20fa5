"""Untrusted bytes to a checked image: size and pixels before decoding, then a full decode.

Runs in a worker thread, never on the event loop.
"""

import hashlib
from dataclasses import dataclass

from PIL import Image

from app.contract.errors import RiseError
from app.contract.images import FORMATS, open_image, read_through
from app.contract.schemas import ImageInfo
from app.contract.settings import Settings
from app.recent import Recent

_REMEMBERED = 2000  # hashes, with a few numbers each: less than a kilobyte

Image.MAX_IMAGE_PIXELS = None  # because the limit is ours, checked below, and not a warning


@dataclass(frozen=True)
class CheckedImage:
    """An upload that every worker will be able to decode.

    Attributes:
        content: the bytes as they came.
        info: size of the upright image, hash and type.
    """

    content: bytes
    info: ImageInfo


class Intake:
    """Checks uploads. What has been read through lately is not decoded again: the same bytes are the same picture.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = Recent[ImageInfo](_REMEMBERED)

    def check(self, content: bytes, sha256: str | None = None) -> CheckedImage:
        """Check an upload.

        Args:
            content: the bytes as they came.
            sha256: their hash, by whoever has it already.

        Raises:
            RiseError: `image-too-large` (bytes or pixels), `unreadable-image`.
        """
        most = self._settings.max_image_bytes
        if len(content) > most:
            raise RiseError("image-too-large", f"the image has {len(content)} bytes; at most {most} are allowed")
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        info = self._known.get(sha256)
        if info is None:
            info = _info(content, sha256, self._settings)
            self._known.keep(sha256, info)
        return CheckedImage(content, info)


def _info(content: bytes, sha256: str, settings: Settings) -> ImageInfo:
    try:
        image = open_image(content)
        _check_pixels(image, settings)
        width, height = read_through(image, content)
    except RiseError:
        raise
    except Exception as cause:  # because decoders raise whatever they like on broken input
        raise RiseError("unreadable-image", _complaint(content)) from cause
    return ImageInfo(width=width, height=height, sha256=sha256, media_type=FORMATS[image.format or ""])


def _check_pixels(image: Image.Image, settings: Settings) -> None:
    pixels = image.width * image.height
    if pixels > settings.max_image_pixels:
        size = f"{image.width} x {image.height}"
        raise RiseError(
            "image-too-large", f"the image has {size} pixels; at most {settings.max_image_pixels} in all are allowed"
        )


def _complaint(content: bytes) -> str:
    if not content:
        return "the image is empty"
    return f"the image cannot be read: it is broken or incomplete, or not one of {', '.join(FORMATS)}"
