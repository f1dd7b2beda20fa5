"""Error bars are a promise: they cover the truth, and reliability says what it means."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.contract.saliency.error_bars import degrees_of_freedom, interval_factor, standard_error
from app.contract.saliency.running_moments import RunningMoments
from app.contract.saliency.tiling import Tiling
from tests.support.black_boxes import classifier, map_of, noise_image, study_of
from tests.workers.saliency.test_rise import linear_truth
from workers.blackbox import Classifier
from workers.explainer.convergence import Convergence

SEEDS = 200
# 97.5 % quantiles of Student's t by degrees of freedom, from a table
STUDENT_T = {2: 4.303, 4: 2.776, 6: 2.447, 5: 2.571, 8: 2.306, 12: 2.179, 14: 2.145, 28: 2.048, 60: 2.000, 400: 1.966}


def curved_box() -> Classifier:
    """A score with interactions between cells: two parts that are needed together, and a context."""
    return classifier(
        lambda images: (
            (8 * images[:, 0, 4:12, 4:12].mean((1, 2)) * images[:, 1, 12:20, 4:12].mean((1, 2)) - 1).sigmoid()
            + 0.2 * images[:, 2].mean((1, 2))
        )
    )


@cache
def converged(keep: float) -> NDArray[np.float32]:
    """The map of the curved score and a picture of noise after 100,000 masks."""
    image = noise_image(24, 24)
    study = study_of(curved_box(), image, grid=4, masks=100_000, until=1, keep=keep, seed=123_456)
    return map_of(study, image).values


@pytest.mark.parametrize("blocks", [2, 3, 4, 8])
@pytest.mark.parametrize("keep", [0.5, 0.3])
def test_95_percent_intervals_cover_the_converged_map_at_least_93_percent_of_the_time(keep: float, blocks: int) -> None:
    image = noise_image(24, 24)
    black_box = curved_box()
    truth = converged(keep)
    covered = []
    for seed in range(SEEDS):
        study = study_of(black_box, image, grid=4, masks=1, until=1, keep=keep, seed=seed)
        study = type(study)(**{**vars(study), "blocks": blocks})
        drawn = map_of(study, image)
        assert drawn.standard_error is not None
        covered.append(np.abs(drawn.values - truth) <= interval_factor(drawn.degrees_of_freedom) * drawn.standard_error)
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("blocks", [2, 3, 4, 8])
def test_95_percent_intervals_cover_a_linear_truth_at_least_93_percent_of_the_time(blocks: int) -> None:
    image = noise_image(24, 24, seed=5)
    weights = torch.from_numpy(np.random.default_rng(4).random((24, 24)) / 576).float()
    black_box = classifier(lambda images: (images.mean(1) * weights).sum((1, 2)))
    truth = linear_truth(np.asarray(image, dtype=float).mean(2) / 255 * weights.numpy(), (4, 4))
    covered = []
    for seed in range(SEEDS):
        study = study_of(black_box, image, grid=4, masks=1, until=1, keep=0.5, seed=seed)
        drawn = map_of(type(study)(**{**vars(study), "blocks": blocks}), image)
        assert drawn.standard_error is not None
        covered.append(np.abs(drawn.values - truth) <= interval_factor(drawn.degrees_of_freedom) * drawn.standard_error)
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_95_percent_intervals_of_the_published_estimator_cover_its_converged_map_too(blocks: int) -> None:
    image, covered = noise_image(24, 24), []
    published: dict[str, Any] = {"grid": 4, "until": 1, "estimator": "paper"}
    truth = map_of(study_of(curved_box(), image, masks=200_000, seed=123_456, **published), image).values
    for seed in range(SEEDS):
        study = study_of(curved_box(), image, masks=1, seed=seed, **published)
        drawn = map_of(type(study)(**{**vars(study), "blocks": blocks}), image)
        assert drawn.standard_error is not None
        covered.append(np.abs(drawn.values - truth) <= STUDENT_T[drawn.degrees_of_freedom] * drawn.standard_error)
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("blocks", [2, 3, 4, 6, 12, 40])
def test_reliability_is_within_003_of_the_correlation_with_the_converged_map(blocks: int) -> None:
    image = noise_image(24, 24)
    black_box = curved_box()
    truth = converged(0.5).ravel()
    predicted, realised = [], []
    for seed in range(40):
        study = study_of(black_box, image, grid=4, masks=1, until=1, seed=seed)
        drawn = map_of(type(study)(**{**vars(study), "blocks": blocks}), image)
        assert drawn.reliability is not None
        predicted.append(drawn.reliability)
        realised.append(np.corrcoef(drawn.values.ravel(), truth)[0, 1])
    assert np.mean(predicted) == pytest.approx(np.mean(realised), abs=0.03)


def test_reliability_on_coarse_maps_is_that_of_the_whole_map() -> None:
    image = noise_image(96, 72)
    study = study_of(curved_box(), image, grid=6, masks=2000, until=1)
    convergence = Convergence(study)
    for block in study.run():
        convergence.add(block)
    coarse, whole = convergence.reliability(), map_of(study, image).reliability
    assert coarse is not None
    assert coarse[0] == pytest.approx(whole, abs=0.01)


def test_moments_are_mean_and_standard_error_of_the_maps_added() -> None:
    maps = np.random.default_rng(0).normal(3, 2, (11, 2, 5, 4)).astype(np.float32)
    moments = RunningMoments()
    for one in maps:
        moments.add(one)
    assert moments.mean is not None
    assert np.allclose(moments.mean, maps.mean(0), atol=1e-6)
    squared = moments.squared_error()
    assert squared is not None
    assert np.allclose(squared, maps.var(0, ddof=1) / 11, atol=1e-6)


def test_error_bars_pool_the_variance_over_the_two_cells_around_a_pixel() -> None:
    maps = np.random.default_rng(1).normal(0, 1, (3, 1, 8, 12)).astype(np.float32)
    moments = RunningMoments()
    for one in maps:
        moments.add(one)
    error = standard_error(moments, Tiling((4, 6)))
    assert error is not None
    window = maps[:, 0, 2:6, 4:8].var(0, ddof=1)  # two cells of two pixels on each side, around their middle
    assert error[0, 4, 6] == pytest.approx(np.sqrt(window.mean() / 3), rel=1e-6)


def test_error_bars_of_two_blocks_are_those_of_many_on_average() -> None:
    random = np.random.default_rng(2)
    found = []
    for _ in range(500):
        moments = RunningMoments()
        for _ in range(2):
            moments.add(random.normal(0, 1, (1, 8, 8)).astype(np.float32))
        error = standard_error(moments, Tiling((8, 8)))
        assert error is not None
        found.append(error**2)
    assert np.mean(found) == pytest.approx(0.5, rel=0.03)


def test_intervals_are_as_wide_as_student_s_t_says() -> None:
    for degrees, quantile in list(STUDENT_T.items())[1:]:
        assert interval_factor(degrees) == pytest.approx(quantile, abs=0.01)
    assert [degrees_of_freedom(blocks, published=False) for blocks in (1, 2, 3)] == [0, 4, 8]


def test_nothing_is_said_about_errors_before_the_second_block() -> None:
    moments = RunningMoments()
    moments.add(np.ones((1, 2, 2), dtype=np.float32))
    assert moments.reliability() is None
    assert standard_error(moments, Tiling((2, 2))) is None
    moments.add(np.zeros((1, 2, 2), dtype=np.float32))
    assert moments.reliability() == [0.0]


def test_a_map_without_any_variation_correlates_with_nothing() -> None:
    moments = RunningMoments()
    for _ in range(4):
        moments.add(np.zeros((1, 3, 3), dtype=np.float32))
    assert moments.reliability() == [0.0]
