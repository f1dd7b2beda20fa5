"""Decodes images to upright RGB; front end and workers decode the same bytes in the same way."""

import io
from contextlib import suppress

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from app.contract.errors import RiseError
from app.contract.images.bit_depth import MODES, grey_range, to_8_bits
from app.contract.images.unsupported import name_unsupported

BROWSER_FORMATS = {  # those that browsers show, by Pillow's names: media types
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
}
FORMATS = {**BROWSER_FORMATS, "TIFF": "image/tiff"}

with suppress(ImportError):  # the extra `heic`
    from pillow_heif import register_heif_opener

    register_heif_opener()
    FORMATS["HEIF"] = "image/heic"

_SIXTEEN_BITS = ";16"  # in the name of what Pillow unpacks
_DARK = 64  # of 256: colours of at most 14 bits in a file of 16

_JPEG = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = range(5, 9)  # values of the orientation that swap width and height


def open_image(content: bytes) -> Image.Image:
    """Read an image's header; no pixel is decoded.

    A JPEG with more images behind it, as many phones write (MPO), is the JPEG that it begins with.

    Returns:
        An image whose format is one of `FORMATS`.

    Raises:
        OSError, ValueError, SyntaxError, Image.DecompressionBombError: if it is none, by Pillow.
    """
    if content.startswith(_JPEG):
        return JpegImageFile(io.BytesIO(content))
    image = Image.open(io.BytesIO(content), formats=list(FORMATS))
    if image.format not in FORMATS:  # because Pillow may detect another format, as MPO in a JPEG
        raise UnidentifiedImageError(f"{image.format} is not one of {', '.join(FORMATS)}")
    return image


def upright_rgb(image: Image.Image) -> Image.Image:
    """Decode the first frame as RGB, rotated as its EXIF says.

    Transparency is composed on white; grey values of more than 8 bits are scaled (`scaling`).

    Raises:
        OSError, ValueError, SyntaxError: if the data are broken, by Pillow.
        RiseError: `unreadable-image`, if values are no numbers, or colours of 16 bits would be nearly black.
    """
    _load(image)
    upright = _rotated(image)
    if upright.mode in MODES:
        return to_8_bits(upright, grey_range(image)).convert("RGB")
    if upright.has_transparency_data:
        colored = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colored.size, "white"), colored).convert("RGB")
    return upright.convert("RGB")


def scaling(image: Image.Image) -> str | None:
    """Return how the grey values of a decoded image become 8 bits, as a sentence; None if they have 8 bits.

    Raises:
        RiseError: as `upright_rgb`.
    """
    return str(grey_range(image)) if image.mode in MODES else None


def upright_bytes(content: bytes) -> tuple[bytes, str]:
    """Return an encoded image that browsers show upright, and its type; the same bytes if they do so already."""
    image = open_image(content)
    upright = image.getexif().get(_ORIENTATION, 1) == 1
    if upright and image.format in BROWSER_FORMATS and image.mode not in MODES:
        return content, FORMATS[image.format or ""]
    buffer = io.BytesIO()
    upright_rgb(image).save(buffer, "PNG")
    return buffer.getvalue(), "image/png"


def orientation_swaps_sides(image: Image.Image) -> bool:
    """Return whether width and height are swapped when an image is rotated by its EXIF orientation."""
    return image.getexif().get(_ORIENTATION) in _SWAPPED


def _rotated(image: Image.Image) -> Image.Image:
    # Not ImageOps.exif_transpose, which writes the EXIF again: two seconds for a megabyte of numbers.
    method = _TRANSPOSE.get(image.getexif().get(_ORIENTATION, 1))
    return image if method is None else image.transpose(method)


def _load(image: Image.Image) -> None:
    """Decode the pixels.

    Pillow keeps the upper 8 of 16 bits of colours: an instrument's values of 10 or 12 bits would become nearly black.
    """
    tiles = image.tile if isinstance(image, ImageFile) else []
    sixteen_bits = any(_SIXTEEN_BITS in str(tile.args) for tile in tiles) and image.mode not in MODES
    image.load()
    if not sixteen_bits:
        return
    largest = max(band.getextrema()[1] for band in image.convert("RGB").split())
    assert isinstance(largest, int)  # because every band has 8 bits by now
    if largest < _DARK:
        detail = f"its colours have 16 bits, of which values up to {largest / 256:.0%} of the largest are used"
        raise RiseError("unreadable-image", f"the image is nearly black: {detail}; save it with 8 bits")


def decode(content: bytes) -> Image.Image:
    """Return an upright RGB image.

    Raises:
        RiseError: `unreadable-image`.
    """
    try:
        return upright_rgb(open_image(content))
    except RiseError:
        raise
    except Exception as cause:  # because decoders raise whatever they like on broken input
        detail = name_unsupported(content) or f"the image cannot be read: {cause}"
        raise RiseError("unreadable-image", detail) from cause
