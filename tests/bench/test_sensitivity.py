import numpy as np
import pytest

from bench.attributions.sensitivity import (
    Numbers,
    hsic_indices,
    hsic_map,
    sobol_map,
    sobol_passes,
    sobol_total_indices,
)

WEIGHTS = np.array([[8.0, 1.0, 4.0], [0.0, 2.0, 6.0]])


def additive(cells: Numbers) -> Numbers:
    scores: Numbers = 0.1 + np.einsum("nhw,hw->n", cells, WEIGHTS) / WEIGHTS.sum()
    return scores


def ishigami(cells: Numbers) -> Numbers:
    """Return the function of Ishigami and Homma 1990 of three numbers in -pi..pi, which cells 0..1 stand for."""
    x, y, z = (2 * cells[:, 0] - 1).T * np.pi
    value: Numbers = np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x)
    return value


@pytest.mark.parametrize("make", [hsic_map, sobol_map])
def test_cells_of_an_additive_black_box_are_ranked_by_their_weights(make: object) -> None:
    found = make(additive, WEIGHTS.shape, passes=2048, seed=0)  # type: ignore[operator]
    assert found.shape == WEIGHTS.shape
    assert (np.argsort(found.ravel()) == np.argsort(WEIGHTS.ravel())).all()


def test_total_indices_of_a_linear_model_are_its_squared_weights() -> None:
    found = sobol_map(additive, WEIGHTS.shape, passes=8192, seed=1)
    np.testing.assert_allclose(found, WEIGHTS**2 / (WEIGHTS**2).sum(), atol=0.01)


def test_total_indices_of_ishigamis_function_are_the_known_ones() -> None:
    found = sobol_map(ishigami, (1, 3), passes=5 * 4096, seed=0)
    np.testing.assert_allclose(found[0], [0.5576, 0.4424, 0.2437], atol=0.02)


def test_total_indices_follow_jansens_formula() -> None:
    first, second = np.array([1.0, 3.0]), np.array([2.0, 2.0])
    found = sobol_total_indices(first, second, np.array([[1.0, 3.0], [3.0, 1.0]]))
    np.testing.assert_allclose(found, [0.0, 4.0])  # the variance is 0.5


def test_sobol_takes_as_many_passes_as_it_says() -> None:
    asked: list[int] = []

    def score(cells: Numbers) -> Numbers:
        asked.append(len(cells))
        summed: Numbers = cells.sum((1, 2))
        return summed

    sobol_map(score, (8, 8), passes=256, seed=0)
    assert asked == [sobol_passes(64, 256)] == [264]


def test_hsic_is_the_trace_of_centred_kernels() -> None:
    random = np.random.default_rng(0)
    visible, scores = np.round(random.random((40, 3))), random.random(40) + 0.5
    centring = np.eye(40) - 1 / 40
    output = np.exp(-np.square(scores[:, None] - scores) / (2 * np.median(scores) ** 2))
    traces = [
        np.trace((column[:, None] == column).astype(float) @ centring @ output @ centring) / 40**2
        for column in visible.T
    ]
    np.testing.assert_allclose(hsic_indices(visible, scores), traces)
