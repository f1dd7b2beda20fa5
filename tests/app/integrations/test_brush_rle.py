"""Label Studio's run-length code: the vector read from its sources, and a decoder written from the published one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from app.label_studio_format.brush_rle import encode

Mask = NDArray[np.bool_]


def decoded(code: list[int], height: int, width: int) -> NDArray[np.int64]:
    """Return `[H, W, 4]`, from thi.ng/umbrella's description of the stream."""
    bits, place = "".join(f"{byte:08b}" for byte in code), 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run, length = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    assert len(bits) - place <= 8
    return np.array(values).reshape(height, width, 4)


def check(mask: Mask) -> None:
    pixels = decoded(encode(mask), *mask.shape)
    assert np.array_equal(pixels, np.repeat(mask[..., None], 4, axis=2) * 255)


def test_the_tiny_mask_has_the_code_that_label_studio_gives_it() -> None:
    mask = np.array([[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    assert encode(mask) == [0, 0, 0, 48, 57, 27, 252, 224, 19, 255, 198, 1, 63, 254, 19, 0, 0]


@given(arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24))))
def test_every_mask_survives_the_code(mask: Mask) -> None:
    check(mask)


@pytest.mark.parametrize("pixels", [1, 2, 4, 64, 16_384, 16_385, 40_000])
@pytest.mark.parametrize("inside", [False, True])
def test_runs_of_every_length_survive_the_code(pixels: int, inside: bool) -> None:
    check(np.full((1, pixels), inside))


def test_the_code_of_a_large_mask_is_small() -> None:
    rows, columns = np.mgrid[:2000, :3000]
    assert len(encode((rows - 1000) ** 2 + (columns - 1500) ** 2 < 600**2)) < 20_000
