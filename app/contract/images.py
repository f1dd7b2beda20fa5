"""Decodes images to upright RGB; front end and workers decode the same bytes in the same way."""

import io

from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from app.contract.errors import RiseError

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

    Transparency is composed on white; 16-bit grey is scaled to 8.

    Raises:
        OSError, ValueError, SyntaxError: if the data are broken, by Pillow.
    """
    image.load()
    upright = _rotated(image)
    if upright.mode in {"I;16", "I;16B", "I;16L", "I", "F"}:
        return _grey_to_rgb(upright)
    if upright.has_transparency_data:
        colored = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colored.size, "white"), colored).convert("RGB")
    return upright.convert("RGB")


def upright_bytes(content: bytes) -> tuple[bytes, str]:
    """Return an encoded image that needs no rotation, and its type; the same bytes if it is upright already."""
    image = open_image(content)
    if image.getexif().get(_ORIENTATION, 1) == 1:
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


def _grey_to_rgb(image: Image.Image) -> Image.Image:
    values = image.convert("F")
    low, high = values.getextrema()
    assert isinstance(low, float | int)  # because it has one band
    assert isinstance(high, float | int)
    span = 65535.0 if low >= 0 and high > 255 else 255.0
    return values.point(lambda value: value * (255.0 / span)).convert("L").convert("RGB")


def decode(content: bytes) -> Image.Image:
    """Return an upright RGB image.

    Raises:
        RiseError: `unreadable-image`.
    """
    try:
        return upright_rgb(open_image(content))
    except Exception as cause:  # because decoders raise whatever they like on broken input
        raise RiseError("unreadable-image", f"the image cannot be read: {cause}") from cause
