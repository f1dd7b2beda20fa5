"""Values to colours. Scaling to 0..1 happens here and nowhere else: maps themselves are in units of the score."""

from functools import lru_cache

import cmap
import numpy as np
from numpy.typing import NDArray

from app.contract.errors import invalid_field

SEQUENTIAL = "matplotlib:inferno"
DIVERGING = "crameri:vik"

_CHUNK = 1_000_000  # values


def normalize(values: NDArray[np.float32], *, signed: bool) -> NDArray[np.float32]:
    """Scale values so that the strongest is 1: to 0..1, or with `signed` to -1..1 around 0; a flat map stays 0."""
    return scaled(values, max_abs(values, signed=signed), signed=signed)


def max_abs(values: NDArray[np.float32], *, signed: bool) -> float:
    """Return the largest value, or with `signed` that of the largest size; 0 where there is none above 0."""
    return max(float(values.max()), -float(values.min()) if signed else 0.0)


def scaled(values: NDArray[np.float32], strongest: float, *, signed: bool) -> NDArray[np.float32]:
    """Return shares of the strongest value, of all values or of a part of them."""
    shown: NDArray[np.float32] = values.copy() if signed else np.maximum(values, 0)
    if strongest > 0:
        shown /= strongest
    return shown


def apply_colormap(share: NDArray[np.float32], *, name: str | None, signed: bool) -> NDArray[np.uint8]:
    """Return RGB colours `[..., 3]` of shares.

    Raises:
        RiseError: `invalid-parameters` for a colour map that does not exist.
    """
    table = _table(name or (DIVERGING if signed else SEQUENTIAL))
    colors = np.empty((*share.shape, 3), dtype=np.uint8)
    flat, flat_colors = share.reshape(-1), colors.reshape(-1, 3)
    for start in range(0, len(flat), _CHUNK):  # because the intermediate values take more memory than the colours
        part = flat[start : start + _CHUNK]
        position = (part + 1) / 2 if signed else part
        flat_colors[start : start + _CHUNK] = table[np.rint(position * 255).astype(np.uint8)]
    return colors


@lru_cache(maxsize=32)
def _table(name: str) -> NDArray[np.uint8]:
    try:
        colors = cmap.Colormap(name).lut(256)
    except (ValueError, TypeError) as cause:
        raise invalid_field("/cmap", f"{name!r} is no colour map; for example viridis, turbo, inferno, vik") from cause
    return np.asarray(np.rint(np.asarray(colors)[:, :3] * 255), dtype=np.uint8)
