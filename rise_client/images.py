"""Images as programs have them, encoded as the service takes them."""

import io
import os
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TAKEN = (
    "a path, encoded bytes, an open binary file, a Pillow image, or a NumPy array [H, W], [H, W, 3] or [H, W, 4] "
    "of uint8 or of floats 0..1"
)
_PNG_MODES = {"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"}


@runtime_checkable
class BinaryFile(Protocol):
    """An open file, `io.BytesIO` included."""

    def read(self) -> bytes:
        """Return what is left of it."""
        ...


ImageInput: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile | Image.Image | NDArray[np.generic]
)
"""An image: a path, encoded bytes, an open binary file, a Pillow image, or pixels `[H, W]`, `[H, W, 3]` (RGB) or
`[H, W, 4]` (RGBA), uint8 or floats 0..1."""


def encode_image(image: ImageInput) -> bytes:
    """Return an image as the bytes of a file; pixels become a PNG.

    Args:
        image: see `ImageInput`; a file that can be rewound is read from its beginning.

    Raises:
        TypeError: for what is no image.
        ValueError: for an array of another shape, or with values out of range.
        OSError: for a path or a file that cannot be read.
    """
    if isinstance(image, str | os.PathLike):
        return Path(image).read_bytes()
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        return _png(image)
    if isinstance(image, np.ndarray):
        return _png(Image.fromarray(_pixels(image)))
    if isinstance(image, BinaryFile):
        return _content(image)
    raise TypeError(f"an image is {_TAKEN}; got {type(image).__name__}")


def _content(file: Any) -> bytes:
    if isinstance(file, io.TextIOBase):
        raise TypeError("the file is open as text: open it with mode 'rb'")
    if getattr(file, "seekable", lambda: False)():
        file.seek(0)  # because a file that was just written, or read before, stands at its end
    content = file.read()
    if not isinstance(content, bytes):
        raise TypeError(f"an image is {_TAKEN}; got a file of {type(content).__name__}")
    return content


def _png(image: Image.Image) -> bytes:
    if image.mode == "F":
        image = Image.fromarray(_pixels(np.asarray(image)))
    buffer = io.BytesIO()
    (image if image.mode in _PNG_MODES else image.convert("RGB")).save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return pixels as uint8, of the same shape."""
    if values.size == 0 or values.ndim not in {2, 3} or (values.ndim == 3 and values.shape[2] not in {3, 4}):
        raise ValueError(f"an image is {_TAKEN}; got the shape {list(values.shape)}")
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"an image is {_TAKEN}; got an array of {values.dtype}")
    floats = values.astype(np.float64)
    if not (floats.min() >= 0 and floats.max() <= 1):  # so that NaN is refused as well
        raise ValueError(f"an image is {_TAKEN}; got floats from {floats.min():g} to {floats.max():g}")
    return np.rint(floats * 255).astype(np.uint8)
