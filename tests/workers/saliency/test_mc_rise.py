"""MC-RISE on scores whose colour effects are known."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.support.black_boxes import classifier, map_of, noise_image, study_of
from workers.blackbox import Classifier, Preprocessing
from workers.execution.results import finished_targets
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan
from workers.methods import mc_rise
from workers.saliency.masks import one_hot_states
from workers.saliency.regression import ridge_effects
from workers.saliency.sampling import MaskDesign

COLORS = ["#ff0000", "#00ff00", "#0000ff"]


def left_edge_likes_green(images: Tensor) -> Tensor:
    """The toy of the definition: 0.5, 0.3 more where the left edge is as it was (middle grey), 0.2 more where green."""
    red, green, blue = images[:, :, :, :6].mean((2, 3)).T
    kept = 2 * (red + green + blue - 1)
    score: Tensor = 0.5 + 0.3 * kept + 0.2 * (green - kept / 2)
    return score


def toy_study(keep: float, **more: Any) -> tuple[ExplanationPlan, Image.Image]:
    grey = Image.new("RGB", (48, 24), (128, 128, 128))
    options = {"method_name": "mc-rise", "colors": COLORS, "grid": (2, 4), "masks": 12_000, "until": 1, "keep": keep}
    return study_of(classifier(left_edge_likes_green), grey, **{**options, **more}), grey


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7])
def test_the_toy_of_the_definition_has_its_color_effects_at_every_keep_probability(keep: float) -> None:
    states = torch.from_numpy(np.concatenate([MaskDesign((1, 2), keep, 3, seed).sample(0) for seed in range(8)]))
    first = states[:, 0, 0]
    scores = 0.5 + 0.3 * (first == 0).float() + 0.2 * (first == 2).float()
    effects = -ridge_effects(scores[:, None], one_hot_states(states, 3))[0, :, 0]
    assert effects[:, 0].tolist() == pytest.approx([-0.3, -0.1, -0.3], abs=1e-3)
    assert effects[:, 1].tolist() == pytest.approx([0, 0, 0], abs=1e-3)


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7])
def test_painting_helps_or_harms_where_and_in_the_color_that_it_does(keep: float) -> None:
    study, image = toy_study(keep)
    drawn = map_of(study, image).values
    red, green, blue = drawn[:, :, :6].mean((1, 2))
    assert red == pytest.approx(blue, abs=0.02)
    assert green == pytest.approx(red / 3, abs=0.02)
    assert red < -0.2
    assert np.abs(drawn[:, :, 30:]).max() < 0.05


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7])
def test_a_constant_black_box_gives_flat_maps(keep: float) -> None:
    image = noise_image(40, 30)
    study = study_of(
        classifier(lambda images: torch.full((len(images),), 0.4)),
        image,
        method_name="mc-rise",
        grid=4,
        masks=1500,
        keep=keep,
    )
    assert np.abs(map_of(study, image).values).max() < 1e-5


@pytest.mark.parametrize("keep", [0.4, 0.5])
def test_one_color_is_minus_the_contrast_of_rise(keep: float) -> None:
    image = noise_image(32, 24, seed=2)
    black_box = classifier(lambda images: images[:, :, 4:12, 4:12].mean((1, 2, 3)))
    options: dict[str, Any] = {"grid": 4, "masks": 1000, "until": 1, "keep": keep}
    rise = map_of(study_of(black_box, image, fill="#336699", **options), image)
    painted = map_of(study_of(black_box, image, method_name="mc-rise", colors=["#336699"], **options), image)
    assert np.allclose(painted.values, -rise.values, atol=1e-6)
    assert rise.standard_error is not None
    assert painted.standard_error is not None
    assert np.allclose(painted.standard_error, rise.standard_error, atol=1e-6)


@pytest.mark.parametrize("keep", [0.3, 0.7])
def test_the_published_weights_are_centred_at_every_keep_probability(keep: float) -> None:
    image = noise_image(32, 32)
    constant = study_of(
        classifier(lambda images: torch.ones(len(images))),
        image,
        method_name="mc-rise",
        colors=COLORS,
        keep=keep,
        grid=3,
        masks=20_000,
        until=1,
        estimator="paper",
    )
    drawn = map_of(constant, image)
    assert drawn.standard_error is not None
    assert (np.abs(drawn.values) / drawn.standard_error).mean() < 1.3


def test_the_map_is_colors_by_height_by_width_and_the_strongest_effect_is_told_in_words() -> None:
    study, image = toy_study(0.5, masks=3000)
    assert map_of(study, image).values.shape == (3, 24, 48)
    convergence = Convergence(study)
    for block in study.run():
        convergence.add(block)
    (target,) = finished_targets(study, convergence)
    assert "lowers 'it' by 0." in target.findings[0]
    assert any(color in target.findings[0] for color in COLORS)
    assert "+-" in target.findings[0]


def test_the_schema_limits_the_colors() -> None:
    with pytest.raises(ValueError, match="no fill"):
        mc_rise.Parameters(colors=["red-ish"])
    with pytest.raises(ValueError, match="at most 16"):
        mc_rise.Parameters(colors=["#000000"] * 17)


def test_it_explains_every_class_with_one_pass() -> None:
    black_box = Classifier(
        lambda images: torch.stack([images.mean((1, 2, 3)), 1 - images.mean((1, 2, 3))], 1),
        ("light", "dark"),
        Preprocessing(size=None),
        activation="probabilities",
    )
    image = noise_image(24, 24)
    study = study_of(black_box, image, "top:2", method_name="mc-rise", grid=3, masks=600, until=1)
    assert len(study.resolved.targets) == 2
    assert np.allclose(map_of(study, image, 0).values, -map_of(study, image, 1).values, atol=1e-6)
