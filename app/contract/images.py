"""Encoded images to upright RGB pictures. Both processes decode the same bytes the same way."""

import io
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from app.contract.errors import RiseError
from app.images.decompression_bombs import reject_decompression_bomb
from app.images.jpeg import strip_scan_data

FORMATS = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "TIFF": "image/tiff",
}

_JPEG = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = range(5, 9)  # values of the orientation that swap width and height


def open_image(content: bytes) -> Image.Image:
    """Read an image's header; no pixel is decoded.

    A JPEG with more pictures behind it, as many phones write (MPO), is the JPEG that it begins with.

    Returns:
        An image whose format is one of `FORMATS`.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: if it is none, by Pillow.
    """
    if content.startswith(_JPEG):
        return JpegImageFile(io.BytesIO(content))
    image = Image.open(io.BytesIO(content), formats=list(FORMATS))
    if image.format not in FORMATS:  # because Pillow may find another one inside, as it does MPO in a JPEG
        raise UnidentifiedImageError(f"{image.format} is not one of {', '.join(FORMATS)}")
    return image


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode the first frame as RGB, rotated as its EXIF says.

    Transparency shows white, as on a page; 16-bit grey is scaled to 8.

    Raises:
        OSError, ValueError, SyntaxError: if the data are broken, by Pillow.
    """
    image.load()
    upright = _turned(image)
    if upright.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
        return _scaled_grey(upright)
    if upright.has_transparency_data:
        colored = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colored.size, "white"), colored).convert("RGB")
    return upright.convert("RGB")


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
            RiseError: `unreadable-image` for one that would take for ever (`costly.py`).
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
        lying = self.image.getexif().get(_ORIENTATION) in _LYING
        self.image.draft(self.image.mode, (1, 1))
        self.image.load()
        return (height, width) if lying else (width, height)


def upright_bytes(content: bytes) -> tuple[bytes, str]:
    """Return an encoded image that needs no rotation, and its type; the same bytes if it is upright already."""
    image = open_image(content)
    if image.getexif().get(_ORIENTATION, 1) == 1:
        return content, FORMATS[image.format or ""]
    buffer = io.BytesIO()
    upright_rgb(image).save(buffer, "PNG")
    return buffer.getvalue(), "image/png"


def _turned(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose would also write the EXIF anew, number by number: two seconds for a megabyte of them.
    turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _scaled_grey(image: Image.Image) -> Image.Image:
    wide = image.convert("F")
    low, high = wide.getextrema()
    assert isinstance(low, float | int)  # because it has one band
    assert isinstance(high, float | int)
    span = 65535.0 if low >= 0 and high > 255 else 255.0
    return wide.point(lambda value: value * (255.0 / span)).convert("L").convert("RGB")


def decode(content: bytes) -> Image.Image:
    """Return an upright RGB image.

    Raises:
        RiseError: `unreadable-image`.
    """
    try:
        return upright_rgb(open_image(content))
    except Exception as cause:  # because decoders raise whatever they like on broken input
        raise RiseError("unreadable-image", f"the image cannot be read: {cause}") from cause
