"""Grey values of more than 8 bits, signed or floating, to 0..255: the range is what the file or its values say."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from PIL import Image, ImageMath
from PIL.TiffImagePlugin import TiffImageFile

from app.contract.errors import RiseError

MODES = frozenset({"I;16", "I;16B", "I;16L", "I", "F"})

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_RANGES = ((340, 341), (280, 281))  # smallest and largest sample: of any type, and of unsigned ones
_BITS = (8, 10, 12, 14, 16)


class GreyRange(NamedTuple):
    """The values that become black and white, and linearly those between them.

    Attributes:
        black: becomes 0.
        white: becomes 255; smaller than `black` where small values are bright.
        source: whence the two are known, as the end of a sentence.
    """

    black: float
    white: float
    source: str

    def __str__(self) -> str:
        return f"grey values from {self.black:g} (black) to {self.white:g} (white) became 0 to 255: {self.source}"


def grey_range(image: Image.Image) -> GreyRange:
    """Return the range of an image in one of `MODES`, whose pixels are loaded.

    Raises:
        RiseError: `unreadable-image`, if a value is infinite or not a number.
    """
    low, high = _extrema(image)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    found = _range_in_file(tags) or _range_of_values(image.mode, low, high)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return GreyRange(found.white, found.black, f"{found.source}; the file says that 0 is white")
    return found


def to_8_bits(image: Image.Image, levels: GreyRange) -> Image.Image:
    """Return a grey image with 8 bits in which `levels` are 0 and 255."""
    scale = 255 / (levels.white - levels.black)
    offset = -levels.black * scale
    return image.convert("F").point(lambda value: value * scale + offset).convert("L")


def _extrema(image: Image.Image) -> tuple[float, float]:
    low, high = image.getextrema()
    assert isinstance(low, float | int)  # because it has one band
    assert isinstance(high, float | int)
    if image.mode == "F":
        unequal = ImageMath.lambda_eval(lambda bands: bands["grey"] != bands["grey"], grey=image)  # as NaN is to itself
        if unequal.getextrema()[1] or max(abs(low), abs(high)) == float("inf"):
            raise RiseError("unreadable-image", "the image has infinite values or NaN; write numbers in their place")
    return low, high


def _range_in_file(tags: Mapping[int, Any]) -> GreyRange | None:
    for smallest, largest in _RANGES:
        black, white = _number(tags.get(smallest, 0)), _number(tags.get(largest))
        if black is not None and white is not None and black < white:
            return GreyRange(black, white, "the file says so")
    return None


def _number(value: object) -> float | None:
    single = value[0] if isinstance(value, tuple) and value else value
    return float(single) if isinstance(single, float | int) else None


def _range_of_values(mode: str, low: float, high: float) -> GreyRange:
    if mode == "F" and high <= 1 and low >= -1:
        return GreyRange(-1 if low < 0 else 0, 1, f"all values lie between {low:g} and {high:g}")
    for bits in _BITS:
        if low >= 0 and high < 2**bits:
            return GreyRange(0, 2**bits - 1, f"the largest value, {high:g}, has {bits} bits")
    return GreyRange(low, max(high, low + 1), "the smallest and the largest value")
