"""Images as programs have them become the same bytes, and what is none is refused in a sentence."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rise_client.images import encode_image
from tests.conftest import SAMPLES

STAR = SAMPLES / "star.jpg"
PIXELS = np.asarray(Image.open(STAR).convert("RGB"))


def decoded(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture)


def written() -> io.BytesIO:
    """Return a buffer that stands at its end, as whatever has just been written."""
    buffer = io.BytesIO()
    buffer.write(STAR.read_bytes())
    return buffer


FILES: dict[str, Any] = {
    "path": STAR,
    "text": str(STAR),
    "bytes": STAR.read_bytes(),
    "bytearray": bytearray(STAR.read_bytes()),
    "memoryview": memoryview(STAR.read_bytes()),
    "buffer": written(),
}


@pytest.mark.parametrize("image", FILES.values(), ids=FILES)
def test_what_is_encoded_is_sent_as_it_is(image: Any) -> None:
    assert encode_image(image) == STAR.read_bytes()


def test_an_open_file_is_read_from_its_beginning() -> None:
    with STAR.open("rb") as file:
        assert encode_image(file) == encode_image(file) == STAR.read_bytes()


def test_a_stream_that_cannot_be_rewound_is_read_from_where_it_is() -> None:
    class Stream:
        def read(self) -> bytes:
            return b"content"

    assert encode_image(Stream()) == b"content"


GREY = PIXELS[..., 0]
RGBA = np.dstack([PIXELS, np.full(GREY.shape, 128, np.uint8)])
ARRAYS: dict[str, tuple[Any, NDArray[np.uint8]]] = {
    "rgb": (PIXELS, PIXELS),
    "grey": (GREY, GREY),
    "rgba": (RGBA, RGBA),
    "floats": (PIXELS / 255, PIXELS),
    "float32": ((PIXELS / 255).astype(np.float32), PIXELS),
    "view": (PIXELS[::2, ::-1], PIXELS[::2, ::-1]),
    "picture": (Image.fromarray(PIXELS), PIXELS),
    "palette": (Image.fromarray(GREY).convert("P"), np.asarray(Image.fromarray(GREY).convert("P"))),
    "picture of floats": (Image.fromarray((GREY / 255).astype(np.float32)), GREY),
    "bits": (Image.fromarray(GREY > 100), (GREY > 100).astype(np.uint8)),
}


@pytest.mark.parametrize(("image", "pixels"), ARRAYS.values(), ids=ARRAYS)
def test_pixels_become_a_png_of_the_same_pixels(image: Any, pixels: NDArray[np.uint8]) -> None:
    assert (decoded(encode_image(image)) == pixels).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB"])
def test_a_picture_of_a_mode_that_png_does_not_have_becomes_rgb(mode: str) -> None:
    picture = Image.fromarray(PIXELS).convert(mode) if mode != "LAB" else Image.new("LAB", (8, 8))
    assert decoded(encode_image(picture)).shape[-1] == 3


REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "none": (None, TypeError, "got NoneType"),
    "list": ([[0, 1]], TypeError, "got list"),
    "number": (3, TypeError, "got int"),
    "text file": (io.StringIO("x"), TypeError, "mode 'rb'"),
    "channels first": (PIXELS.transpose(2, 0, 1), ValueError, r"got the shape \[3, 360, 480\]"),
    "batch": (PIXELS[None], ValueError, r"got the shape \[1, 360, 480, 3\]"),
    "one channel": (PIXELS[..., :1], ValueError, r"got the shape \[360, 480, 1\]"),
    "empty": (PIXELS[:0], ValueError, r"got the shape \[0, 480, 3\]"),
    "integers": (PIXELS.astype(np.int64), ValueError, "got an array of int64"),
    "floats up to 255": (PIXELS.astype(np.float32), ValueError, "got floats from 0 to 255"),
    "negative floats": (PIXELS / 255 - 0.5, ValueError, "got floats from -0.5 to 0.5"),
    "not numbers": (np.full((4, 4), np.nan), ValueError, "got floats from nan to nan"),
}


@pytest.mark.parametrize(("image", "kind", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_image_is_refused_with_what_is_taken(image: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        encode_image(image)
    assert "binary" in str(caught.value) or "'rb'" in str(caught.value)


def test_a_file_that_is_open_as_text_is_refused_before_it_is_read() -> None:
    with STAR.open() as file, pytest.raises(TypeError, match="mode 'rb'"):
        encode_image(file)  # type: ignore[arg-type]


def test_a_path_where_nothing_is_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        encode_image(tmp_path / "none.png")
