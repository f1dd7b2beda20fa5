"""Fills that take turns, masks that hide only partly, and log-odds."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from app.contract.saliency.error_bars import interval_factor
from tests.support.black_boxes import brightness_of, classifier, map_of, noise_image, study_of, white_image
from tests.workers.saliency.test_rise import linear_truth
from workers.blackbox import Classifier, Preprocessing
from workers.explainer.convergence import Convergence
from workers.methods import method

FILLS = {"black": 0.0, "white": 1.0, "#404040": 64 / 255}
GRID = (4, 4)
IMAGE = noise_image(24, 24, seed=5)
WEIGHTS = torch.from_numpy(np.random.default_rng(4).random((24, 24)) / 576).float()
LINEAR = classifier(lambda images: (images.mean(1) * WEIGHTS).sum((1, 2)))


def truth(fill: float) -> Any:
    return linear_truth((np.asarray(IMAGE, dtype=float).mean(2) / 255 - fill) * WEIGHTS.numpy(), GRID)


def turned(blocks: int, **parameters: Any) -> Any:
    study = study_of(LINEAR, IMAGE, grid=4, masks=32 * blocks, until=1, **parameters)
    assert study.blocks == blocks
    return map_of(study, IMAGE)


def test_blocks_take_turns_with_the_fills_and_are_what_they_are_with_one_fill() -> None:
    together = list(study_of(LINEAR, IMAGE, grid=4, masks=6 * 32, until=1, fill=list(FILLS)).run())
    assert len(together) == 6
    for number, block in enumerate(together):
        fill = list(FILLS)[number % 3]
        alone = list(study_of(LINEAR, IMAGE, grid=4, masks=6 * 32, until=1, fill=fill).run())[number]
        assert np.array_equal(block.effects, alone.effects)


def test_95_percent_intervals_cover_the_mean_over_fills_at_least_93_percent_of_the_time() -> None:
    expected = np.mean([truth(fill) for fill in FILLS.values()], axis=0)
    covered = []
    for seed in range(60):
        drawn = turned(6, fill=list(FILLS), seed=seed)
        reach = interval_factor(drawn.degrees_of_freedom) * drawn.standard_error
        covered.append(np.abs(drawn.values - expected) <= reach)
    assert np.mean(covered) >= 0.93


def test_the_spread_between_fills_widens_error_bars() -> None:
    one, several = turned(6, fill="black"), turned(6, fill=list(FILLS))
    assert np.median(several.standard_error) > 1.5 * np.median(one.standard_error)
    assert several.reliability < one.reliability


def test_fills_have_as_many_blocks_each_when_an_explanation_stops() -> None:
    study = study_of(
        classifier(brightness_of(slice(4, 12), slice(4, 12))),
        white_image(24, 24),
        grid=4,
        until=0.1,
        fill=["black", "#101010", "#202020"],
    )
    convergence = Convergence(study)
    for block in study.run():
        convergence.add(block)
        if convergence.reached():
            break
    assert convergence.blocks == 3
    assert study_of(LINEAR, IMAGE, grid=4, masks=1, fill=list(FILLS)).blocks == 3


@pytest.mark.parametrize("fill", [["black", "black"], [], ["black", "no-fill"], "no-fill"])
def test_a_list_of_fills_that_makes_no_sense_is_refused(fill: Any) -> None:
    with pytest.raises(ValidationError):
        method("rise").Parameters.model_validate({"fill": fill})


def test_masks_that_hide_partly_show_a_linear_model_that_share_of_its_map() -> None:
    whole, part = turned(4), turned(4, opacity=0.3)
    assert np.allclose(part.values, 0.3 * whole.values, atol=1e-6)


def test_what_is_left_of_a_region_is_seen() -> None:
    """A model that looks at the mark only where nothing is black: hidden entirely it never does."""

    def score(images: torch.Tensor) -> torch.Tensor:
        is_masked = (images.amin((1, 2, 3)) < 0.5).float()
        return (1 - is_masked) * brightness_of(slice(4, 8), slice(4, 8))(images) + is_masked * 0.3

    image = white_image(24, 24)
    entirely = map_of(study_of(classifier(score), image, grid=4, masks=256, until=1), image).values[0]
    partly = map_of(study_of(classifier(score), image, grid=4, masks=256, until=1, opacity=0.3), image).values[0]
    assert np.abs(entirely).max() < 0.05
    row, column = np.unravel_index(partly.argmax(), partly.shape)
    assert 2 <= row < 10
    assert 2 <= column < 10


def test_log_odds_add_up_where_the_evidence_does() -> None:
    """Log-odds of a softmax of linear logits are their difference, which is additive."""
    seen = brightness_of(slice(4, 12), slice(4, 12))
    box = Classifier(
        forward=lambda images: torch.stack([8 * seen(images) - 4, 0 * seen(images)], 1),
        labels=("it", "other"),
        preprocessing=Preprocessing(size=None),
        activation="softmax",
    )
    image = white_image(24, 24)
    odds = map_of(study_of(box, image, grid=4, masks=256, until=1, score="log-odds"), image)
    linear = map_of(study_of(box, image, grid=4, masks=256, until=1, score="logit"), image)
    assert np.allclose(odds.values, linear.values, atol=1e-3)
    convergence = Convergence(study := study_of(box, image, grid=4, masks=256, until=1, score="log-odds"))
    for block in study.run():
        convergence.add(block)
    assert convergence.statistics is not None
    assert convergence.statistics.interaction_share()[0] == pytest.approx(0, abs=1e-6)


def test_certainty_has_finite_log_odds() -> None:
    box = classifier(lambda images: (images.mean((1, 2, 3)) > 0).float())
    image = white_image(24, 24)
    drawn = map_of(study_of(box, image, grid=4, masks=64, until=1, score="log-odds"), image)
    assert np.isfinite(drawn.values).all()
