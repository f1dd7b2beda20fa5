"""Images of people's instruments: grey values that are not 0..255 are scaled, and the answer says how."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from app.contract.errors import RiseError
from app.contract.images.decoding import decode, upright_bytes
from tests.support.hostile_images import encoded
from tests.support.image_validation import validate

RAMP = np.linspace(0, 1, 40 * 60).reshape(40, 60)  # from black to white
TOLERANCE = 1.5  # of 255: truncated twice


def written(values: NDArray[Any], kind: str = "TIFF", **tags: float) -> bytes:
    options: dict[str, object] = {}
    if tags:
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for name, value in tags.items():
            directory[int(name.removeprefix("tag"))] = value
        options["tiffinfo"] = directory
    return encoded(Image.fromarray(values), kind, **options)


def grey(content: bytes) -> NDArray[np.uint8]:
    pixels = np.asarray(decode(content))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_integers_of_an_instrument_use_the_whole_range(bits: int, kind: str) -> None:
    content = written((RAMP * (2**bits - 1)).astype(np.uint16), kind)
    assert np.abs(grey(content).astype(float) - RAMP * 255).max() <= TOLERANCE
    assert validate(content).info.scaled == (
        f"grey values from 0 (black) to {2**bits - 1:g} (white) became 0 to 255: "
        f"the largest value, {2**bits - 1:g}, has {bits} bits"
    )


@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [(0, 1, 0, 1), (-1, 1, -1, 1), (0, 255, 0, 255), (0, 4095, 0, 4095), (-1000, 3000, -1000, 3000), (0, 9e6, 0, 9e6)],
)
def test_floating_values_are_scaled_by_their_range(low: float, high: float, black: float, white: float) -> None:
    content = written((low + RAMP * (high - low)).astype(np.float32))
    assert np.abs(grey(content).astype(float) - RAMP * 255).max() <= TOLERANCE
    scaled = validate(content).info.scaled
    assert scaled is not None
    assert f"from {black:g} (black) to {white:g} (white)" in scaled


def test_negative_integers_are_scaled_and_not_clipped() -> None:
    content = written((RAMP * 4000 - 1000).astype(np.int32))
    assert np.abs(grey(content).astype(float) - RAMP * 255).max() <= TOLERANCE
    assert "from -1000 (black) to 3000 (white)" in str(validate(content).info.scaled)


def test_what_the_file_says_comes_before_what_its_values_say() -> None:
    content = written((RAMP * 500).astype(np.uint16), tag280=0, tag281=1000)
    assert np.abs(grey(content).astype(float) - RAMP * 127.5).max() <= TOLERANCE
    assert str(validate(content).info.scaled).endswith(
        "from 0 (black) to 1000 (white) became 0 to 255: the file says so"
    )


def test_a_file_in_which_zero_is_white_is_turned_over() -> None:
    content = written((RAMP * 4095).astype(np.uint16), tag262=0)
    assert np.abs(grey(content).astype(float) - (1 - RAMP) * 255).max() <= TOLERANCE
    assert "0 is white" in str(validate(content).info.scaled)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    values = RAMP.astype(np.float32)
    values[3, 3] = value
    with pytest.raises(RiseError, match="infinite values or NaN"):
        validate(written(values))


def test_an_image_of_one_value_is_read() -> None:
    for value in (0.0, 0.5, -7.0):
        validate(written(np.full((4, 4), value, np.float32)))


def png_of_16_bit_colours(values: NDArray[np.uint16]) -> bytes:
    """Return a PNG that Pillow cannot write: RGB of 16 bits, from `[H, W, 3]`."""

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_are_read_and_those_that_would_be_nearly_black_are_refused() -> None:
    colours = np.repeat((RAMP * 65535).astype(np.uint16)[..., None], 3, axis=2)
    assert np.abs(grey(png_of_16_bit_colours(colours)).astype(float) - RAMP * 255).max() <= TOLERANCE
    with pytest.raises(RiseError, match=r"nearly black.*save it with 8 bits"):
        validate(png_of_16_bit_colours(colours // 16))


def test_an_image_of_8_bits_is_not_scaled_and_says_nothing() -> None:
    content = encoded(Image.fromarray((RAMP * 120).astype(np.uint8)), "PNG")
    assert grey(content).max() == 120
    assert validate(content).info.scaled is None


def test_a_scaled_image_goes_to_browsers_as_it_was_explained() -> None:

    content = written((RAMP * 4095).astype(np.uint16), "PNG")
    shown, media_type = upright_bytes(content)
    assert media_type == "image/png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(shown)).convert("RGB")), np.asarray(decode(content)))
