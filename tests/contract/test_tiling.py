"""Tiles: cells of refined squares stand alone, those of every other square of four are one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract.saliency.tiling import Tiling

tilings = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
    lambda squares: st.builds(
        lambda refined: Tiling((2 * squares[0], 2 * squares[1]), tuple(sorted(refined))),
        st.sets(st.tuples(st.integers(0, squares[0] - 1), st.integers(0, squares[1] - 1))),
    )
)


@given(tilings)
def test_a_square_is_one_tile_or_four(tiling: Tiling) -> None:
    assert tiling.refined is not None
    for row in range(tiling.grid[0] // 2):
        for column in range(tiling.grid[1] // 2):
            square = tiling.numbers[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert len(np.unique(square)) == (4 if (row, column) in tiling.refined else 1)
    squares = tiling.numbers.size // 4
    assert tiling.count == squares + 3 * len(tiling.refined)
    assert tiling.sizes.sum() == tiling.numbers.size
    assert np.array_equal(np.unique(tiling.numbers), np.arange(tiling.count))
    assert np.array_equal(tiling.numbers.ravel()[tiling.first_cells], np.arange(tiling.count))


@given(tilings, st.integers(0, 99))
def test_totals_add_up_and_means_are_a_projection(tiling: Tiling, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 1, (3, 2, *tiling.grid))
    totals, means = tiling.totals(values), tiling.means(values)
    assert totals.shape == (3, 2, tiling.count)
    assert totals.sum(-1) == pytest.approx(values.sum((-2, -1)))
    assert tiling.totals(means) == pytest.approx(totals)
    assert tiling.means(means) == pytest.approx(means)
    assert np.array_equal(means[..., tiling.alone], values[..., tiling.alone])


def test_every_cell_of_a_uniform_grid_is_a_tile() -> None:
    tiling, values = Tiling((3, 5)), np.arange(15.0).reshape(3, 5)
    assert tiling.is_uniform
    assert tiling.count == 15
    assert np.array_equal(tiling.totals(values), values.ravel())
    assert tiling.means(values) is values
