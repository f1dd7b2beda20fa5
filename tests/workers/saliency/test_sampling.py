import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.saliency.sampling import MaskDesign, sample_independently

grids = st.tuples(st.integers(1, 10), st.integers(1, 10))
seeds = st.integers(0, 2**63 - 1)


@given(grids, seeds, st.integers(0, 10_000))
def test_a_balanced_block_keeps_every_cell_in_exactly_half_and_every_two_are_uncorrelated(
    grid: tuple[int, int], seed: int, block: int
) -> None:
    design = MaskDesign(grid, 0.5, 1, seed)
    signs = 1 - 2 * design.sample(block).reshape(design.block_size, -1).astype(int)
    assert (signs.sum(0) == 0).all()
    assert np.array_equal(signs.T @ signs, design.block_size * np.eye(design.cells, dtype=int))


def test_pairs_of_cells_do_not_leak_into_single_cells() -> None:
    design = MaskDesign((4, 4), 0.5, 1, 9)
    signs = 1 - 2 * design.sample(0).reshape(design.block_size, -1).astype(int)
    products = signs[:, :, None] * signs[:, None, :]
    assert (np.einsum("ni,njk->ijk", signs, products) == 0).all()


@pytest.mark.parametrize(
    ("grid", "size"),
    [((7, 7), 112), ((8, 8), 128), ((10, 10), 208), ((12, 12), 288), ((16, 16), 512), ((1, 1), 4), ((2, 5), 24)],
)
def test_a_balanced_block_is_twice_the_next_order_of_a_hadamard_matrix(grid: tuple[int, int], size: int) -> None:
    assert MaskDesign(grid, 0.5, 1, 0).block_size == size


@pytest.mark.parametrize(("keep", "fills"), [(0.3, 1), (0.7, 1), (0.5, 3), (0.2, 5)])
def test_other_blocks_have_twice_the_unknowns_and_the_state_probabilities_asked_for(keep: float, fills: int) -> None:
    design = MaskDesign((6, 6), keep, fills, 1)
    states = np.concatenate([design.sample(block) for block in range(40)])
    assert design.block_size >= 2 * 36 * fills
    assert design.block_size % 64 == 0
    assert np.mean(states == 0) == pytest.approx(keep, abs=0.01)
    for fill in range(1, fills + 1):
        assert np.mean(states == fill) == pytest.approx((1 - keep) / fills, abs=0.01)


@given(seeds, st.integers(0, 2**40))
def test_a_block_is_a_pure_function_of_seed_and_block(seed: int, block: int) -> None:
    for keep in (0.5, 0.3):
        design = MaskDesign((5, 5), keep, 1, seed)
        again = MaskDesign((5, 5), keep, 1, seed)
        again.sample(block + 1)
        assert np.array_equal(design.sample(block), again.sample(block))
        assert not np.array_equal(design.sample(block), design.sample(block + 1))


def test_published_masks_have_independent_cells_and_shifts_over_the_whole_range() -> None:
    states, uniform = sample_independently(MaskDesign((4, 4), 0.5, 1, 2), 0, 20_000)
    cells = states.reshape(len(states), -1).astype(float)
    assert np.abs(np.corrcoef(cells.T) - np.eye(16)).max() < 0.03
    shifts = uniform * 7 >> 31
    assert sorted(set(shifts.ravel().tolist())) == list(range(7))
