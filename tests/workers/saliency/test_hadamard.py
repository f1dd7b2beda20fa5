"""Hadamard matrices of every order that designs need."""

import hashlib

import numpy as np
import pytest

from workers.saliency.hadamard import hadamard_matrix, hadamard_order
from workers.saliency.sampling import MaskDesign


@pytest.mark.parametrize("order", sorted({hadamard_order(cells) for cells in [*range(1, 300, 5), 1025]}))
def test_columns_are_orthogonal_signs(order: int) -> None:
    matrix = hadamard_matrix(order).astype(np.float32)
    assert set(np.unique(matrix)) <= {-1, 1}
    assert np.array_equal(matrix.T @ matrix, order * np.eye(order))


def test_orders_are_the_next_that_are_known_and_waste_less_than_powers_of_two() -> None:
    known = {1: 2, 2: 2, 3: 4, 9: 12, 25: 28, 36: 36, 49: 56, 64: 64, 81: 84, 100: 104, 121: 124, 144: 144, 169: 176,
        196: 196, 225: 228, 256: 256}  # fmt: skip
    assert {cells: hadamard_order(cells) for cells in known} == known
    assert all(hadamard_order(cells) <= 1.2 * cells + 4 for cells in range(1, 4097))


def test_an_order_without_a_construction_is_refused() -> None:
    with pytest.raises(ValueError, match="order 6"):
        hadamard_matrix(6)


def test_blocks_of_powers_of_two_are_those_of_every_version() -> None:
    states = MaskDesign((8, 8), 0.5, 1, 7).sample(3)
    assert hashlib.sha256(states.tobytes()).hexdigest()[:16] == "1baef717d5feb72f"
