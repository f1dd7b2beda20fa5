import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from app.rendering.regions import top_mass_region

maps = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=st.integers(-4, 9).map(float))
levels = st.floats(0.01, 1)


@given(maps, levels)
def test_a_region_holds_the_share_and_no_smaller_one_bounded_by_a_value_does(
    values: NDArray[np.float32], level: float
) -> None:
    inside, positive = top_mass_region(values, level), np.maximum(values, 0).astype(float)
    assert positive[inside].sum() >= level * positive.sum() * (1 - 1e-9)
    if inside.any():
        lowest = values[inside].min()
        assert (inside == (values >= lowest)).all()
        assert positive[values > lowest].sum() < level * positive.sum()


@given(maps, levels, levels)
def test_a_larger_share_needs_a_region_that_holds_the_smaller_one(
    values: NDArray[np.float32], one: float, other: float
) -> None:
    assert (top_mass_region(values, max(one, other)) >= top_mass_region(values, min(one, other))).all()


@given(maps, levels)
def test_a_region_does_not_depend_on_the_unit(values: NDArray[np.float32], level: float) -> None:
    assert (top_mass_region(values * 4, level) == top_mass_region(values, level)).all()


def test_a_map_without_anything_positive_has_no_region() -> None:
    assert not top_mass_region(np.array([[-1, 0]], dtype=np.float32), 0.5).any()


def test_half_of_the_saliency_of_one_strong_pixel_is_that_pixel() -> None:
    values = np.array([[1, 1, 8], [1, 1, -20]], dtype=np.float32)
    assert top_mass_region(values, 0.5).tolist() == [[False, False, True], [False, False, False]]
    assert top_mass_region(values, 1).sum() == 5
