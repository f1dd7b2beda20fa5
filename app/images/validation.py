"""Untrusted bytes to a checked image: size and pixels before decoding, then a full decode.

Runs in a worker thread, never on the event loop.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from PIL import Image

from app.contract.errors import RiseError
from app.contract.images import FORMATS, open_image, orientation_swaps_sides, upright_rgb
from app.contract.schemas import ImageInfo
from app.contract.settings import Settings
from app.images.decompression_bombs import reject_decompression_bomb
from app.images.jpeg import strip_scan_data
from app.recent import LRUCache

_REMEMBERED = 2000  # hashes, with a few numbers each: less than a kilobyte

Image.MAX_IMAGE_PIXELS = None  # because the limit is ours, checked below, and not a warning


class ImageHeader(NamedTuple):
    """An image of which only the header has been read.

    Attributes:
        image: to be decoded; a JPEG with one scan without its pixels (`jpeg.py`), because a decoder refuses both.
        size: width and height in pixels, as they are stored.
    """

    image: Image.Image
    size: tuple[int, int]

    @classmethod
    def of(cls, content: bytes) -> "ImageHeader":
        """Read a header.

        Raises:
            OSError, ValueError, SyntaxError, Image.DecompressionBombError: if there is none, by Pillow.
            KeyError, struct.error: as well, for a broken TIFF.
            RiseError: `unreadable-image` for one that would take for ever (`decompression_bombs.py`).
        """
        hollow = cls.without_pixels(content)
        if hollow is not None:
            return hollow
        reject_decompression_bomb(content)
        image = open_image(content)
        return cls(image, image.size)

    @classmethod
    def without_pixels(cls, content: bytes) -> "ImageHeader | None":
        """Read the header of a JPEG with one scan; None for any other file, which is not even opened.

        Raises:
            OSError, ValueError, SyntaxError: if there is none, by Pillow.
        """
        hollow = strip_scan_data(content)
        return None if hollow is None else cls(open_image(hollow.content), (hollow.width, hollow.height))

    def read_through(self) -> tuple[int, int]:
        """Read all that it takes to know that the image can be decoded, and return its upright width and height.

        A JPEG is decoded at an eighth of its size: libjpeg still reads every coefficient, at a quarter of the cost.

        Raises:
            OSError, ValueError, SyntaxError: if the data are broken, by Pillow.
        """
        if self.image.format != "JPEG":
            return upright_rgb(self.image).size
        width, height = self.size
        swapped = orientation_swaps_sides(self.image)
        self.image.draft(self.image.mode, (1, 1))
        self.image.load()
        return (height, width) if swapped else (width, height)


Header = TypeVar("Header", ImageHeader, ImageHeader | None)


@dataclass(frozen=True)
class ValidatedImage:
    """An upload that every worker will be able to decode.

    Attributes:
        content: the bytes as they came.
        info: size of the upright image, hash and type.
    """

    content: bytes
    info: ImageInfo


class QuickCheck(NamedTuple):
    """What can be said of an upload at once.

    Attributes:
        sha256: of its bytes.
        info: size of the upright image, hash and type; None where its pixels have to be decoded first.
        error: what is wrong with it.
    """

    sha256: str
    info: ImageInfo | None
    error: RiseError | None


class ImageValidator:
    """Checks uploads. What has been read through lately is not decoded again: the same bytes are the same picture.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known = LRUCache[ImageInfo](_REMEMBERED)

    def check(self, content: bytes, sha256: str | None = None) -> ValidatedImage:
        """Check an upload.

        Args:
            content: the bytes as they came.
            sha256: their hash, by whoever has it already.

        Raises:
            RiseError: `image-too-large` (bytes or pixels), `unreadable-image`.
        """
        sha256 = sha256 or hashlib.sha256(content).hexdigest()
        self._check_bytes(content)
        info = self._known.get(sha256)
        if info is None:
            info = self._keep(self._unread(content, ImageHeader.of), content, sha256)
        return ValidatedImage(content, info)

    def glance(self, content: bytes) -> QuickCheck:
        """Say of an upload what can be said of any in next to no time: nothing but a plain JPEG is even opened."""
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            self._check_bytes(content)
            info = self._known.get(sha256)
            if info is None:
                unread = self._unread(content, ImageHeader.without_pixels)
                info = self._keep(unread, content, sha256) if unread is not None else None
        except RiseError as error:
            return QuickCheck(sha256, None, error)
        return QuickCheck(sha256, info, None)

    def _check_bytes(self, content: bytes) -> None:
        most = self._settings.max_image_bytes
        if len(content) > most:
            raise RiseError("image-too-large", f"the image has {len(content)} bytes; at most {most} are allowed")

    def _unread(self, content: bytes, read: Callable[[bytes], Header]) -> Header:
        with _readable(content):
            unread = read(content)
        if unread is not None:
            _check_pixels(*unread.size, self._settings)
        return unread

    def _keep(self, unread: ImageHeader, content: bytes, sha256: str) -> ImageInfo:
        with _readable(content):
            width, height = unread.read_through()
        media_type = FORMATS[unread.image.format or ""]
        info = ImageInfo(width=width, height=height, sha256=sha256, media_type=media_type)
        self._known.keep(sha256, info)
        return info


@contextmanager
def _readable(content: bytes) -> Iterator[None]:
    try:
        yield
    except RiseError:
        raise
    except Exception as cause:  # because decoders raise whatever they like on broken input
        raise RiseError("unreadable-image", _complaint(content)) from cause


def _check_pixels(width: int, height: int, settings: Settings) -> None:
    most = settings.max_image_pixels
    if width * height > most:
        detail = f"the image has {width} x {height} pixels; at most {most} in all are allowed"
        raise RiseError("image-too-large", detail)


def _complaint(content: bytes) -> str:
    if not content:
        return "the image is empty"
    return f"the image cannot be read: it is broken or incomplete, or not one of {', '.join(FORMATS)}"
