"""Maps lose their noise and not their signal."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contract.saliency.error_bars import box_mean, degrees_of_freedom, interval_factor, standard_error
from app.contract.saliency.running_moments import RunningMoments
from app.contract.saliency.tiling import Tiling
from app.contract.saliency.wiener_filter import wiener_shrink

GRID = (8, 8)
SIDE = 32


def bump() -> NDArray[np.float64]:
    """A truth that is zero over most of the picture."""
    y, x = np.indices((SIDE, SIDE))
    return np.asarray(np.exp(-((y - 10) ** 2 + (x - 20) ** 2) / 30))


def moments_of(truth: NDArray[np.float64], blocks: int, seed: int = 0) -> RunningMoments:
    """Blocks of a truth and noise that is smooth within a cell, as that of drawn effects is."""
    random, moments = np.random.default_rng(seed), RunningMoments()
    for _ in range(blocks):
        noise = np.kron(random.standard_normal(GRID), np.ones((SIDE // GRID[0], SIDE // GRID[1])))
        moments.add((truth + 0.2 * noise)[None].astype(np.float32))
    return moments


@pytest.mark.parametrize("blocks", [2, 4, 8, 16])
def test_a_shrunk_map_is_closer_to_the_truth_at_every_number_of_blocks(blocks: int) -> None:
    errors = []
    for seed in range(20):
        moments = moments_of(bump(), blocks, seed)
        assert moments.mean is not None
        values, _ = wiener_shrink(moments, Tiling(GRID))
        errors.append([np.square(each - bump()).mean() for each in (moments.mean, values)])
    mean, less = np.mean(errors, axis=0)
    assert less < 0.7 * mean


def test_error_bars_of_the_mean_cover_the_truth_from_the_shrunk_map_too() -> None:
    covered = []
    for seed in range(50):
        moments = moments_of(bump(), 8, seed)
        error = standard_error(moments, Tiling(GRID))
        assert error is not None
        covered.append(
            np.abs(wiener_shrink(moments, Tiling(GRID))[0] - bump())
            <= interval_factor(degrees_of_freedom(8, published=False)) * error
        )
    assert np.mean(covered) >= 0.95


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_promised_correlation_is_what_comes_out(blocks: int) -> None:
    promised, real = [], []
    for seed in range(50):
        values, reliability = wiener_shrink(moments_of(bump(), blocks, seed), Tiling(GRID))
        assert reliability is not None
        promised.append(reliability[0])
        real.append(np.corrcoef(values.ravel(), bump().ravel())[0, 1])
    assert abs(np.mean(promised) - np.mean(real)) < 0.03


def test_what_is_far_above_its_noise_stays() -> None:
    truth = 10 + bump()
    values, _ = wiener_shrink(moments_of(truth, 4), Tiling(GRID))
    assert np.allclose(values[0], truth, atol=0.6)
    assert values.mean() == pytest.approx(truth.mean(), rel=0.01)


def test_without_error_bars_nothing_is_taken_away() -> None:
    moments = moments_of(bump(), 1)
    values, reliability = wiener_shrink(moments, Tiling(GRID))
    assert values is moments.mean
    assert reliability is None


def test_a_map_without_noise_stays_and_is_reliable() -> None:
    moments = RunningMoments()
    for _ in range(4):
        moments.add(np.stack([bump(), 0 * bump()]).astype(np.float32))
    values, reliability = wiener_shrink(moments, Tiling(GRID))
    assert moments.mean is not None
    assert np.array_equal(values, moments.mean)
    assert reliability == [1.0, 0.0]  # because a map that is flat says nothing


def test_the_mean_around_a_pixel_is_that_of_two_cells_mirrored_at_the_border() -> None:
    values = np.zeros((1, SIDE, SIDE))
    values[0, 0, 16] = 64
    found = box_mean(values, GRID)[0]
    assert found.shape == (SIDE, SIDE)
    assert found[:4, 13:20] == pytest.approx(2.0)  # 8 x 8 pixels, and the border counts twice
    assert found[8:] == pytest.approx(0.0)
