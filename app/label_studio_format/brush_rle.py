"""Label Studio's run-length encoding of brush masks: that of thi.ng/umbrella's rle-pack, for four bytes per pixel.

A stream of bits: the number of values (32 bits), the size of a value less one (5), four sizes of lengths less one
(4 each), then blocks. A block is one bit (1: a run), two that choose the size of its length, the length less one, and
the value. Pixels are RGBA of one value, so every run is at least four long and literals are never shorter.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_BYTES_PER_PIXEL = 4
_VALUE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_INSIDE = 255


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """Return the encoding of a mask, as bytes.

    Args:
        mask: `[H, W]`, true inside.
    """
    values = np.repeat(mask.ravel(), _BYTES_PER_PIXEL)
    header = f"{values.size:032b}{_VALUE_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in _LENGTH_BITS)
    stream = header + "".join(_blocks(values))
    stream += "0" * (8 - len(stream) % 8)  # a whole byte where no bit is missing, as Label Studio's own encoder does
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def _blocks(values: NDArray[np.bool_]) -> Iterator[str]:
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    longest = 1 << _LENGTH_BITS[-1]
    for start, end in pairwise([0, *changes.tolist(), values.size]):
        value = _INSIDE if values[start] else 0
        for first in range(start, end, longest):
            yield _run(min(end - first, longest) - 1, value)


def _run(length_less_one: int, value: int) -> str:
    size_index = next(size_index for size_index, bits in enumerate(_LENGTH_BITS) if length_less_one < 1 << bits)
    return f"1{size_index:02b}{length_less_one:0{_LENGTH_BITS[size_index]}b}{value:0{_VALUE_BITS}b}"
