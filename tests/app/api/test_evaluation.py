import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.saliency.rendering import SaliencyMap
from app.contract.schemas import MetricsRequest
from tests.conftest import SAMPLES
from tests.support.black_boxes import brightness_of, classifier, map_of, study_of, white_image
from workers.demo import shapes
from workers.explainer.evaluation import measure
from workers.saliency.metrics import average_drop, energy_in, perturbation_curve, pointing_game_hit_rate, rank_pixels


def test_an_integer_is_one_as_json_schema_has_it() -> None:
    assert MetricsRequest.model_validate({"seed": 3.0}).seed == 3
    for seed in (3.5, "3", True, 1e19):
        with pytest.raises(ValidationError):
            MetricsRequest.model_validate({"seed": seed})


def quarter(images: Tensor) -> Tensor:
    return images[:, :, :4, :4].mean((1, 2, 3))


WHITE, BLACK = torch.ones(3, 8, 8), torch.zeros(3, 8, 8)


def right_map() -> NDArray[np.float32]:
    saliency = np.zeros((8, 8), dtype=np.float32)
    saliency[:4, :4] = 1
    return saliency


def test_deleting_what_matters_first_has_the_area_worked_out_by_hand() -> None:
    curve = perturbation_curve(quarter, WHITE, BLACK, rank_pixels(right_map(), seed=0), steps=64, batch=7)
    assert curve.scores[0] == 1
    assert curve.scores[16:] == pytest.approx([0] * 49)
    assert curve.area == pytest.approx(0.5 * 16 / 64)


def test_inserting_what_matters_first_is_its_mirror() -> None:
    curve = perturbation_curve(quarter, BLACK, WHITE, rank_pixels(right_map(), seed=0), steps=64, batch=64)
    assert curve.area == pytest.approx(1 - 0.5 * 16 / 64)


def test_a_flat_map_is_no_better_than_chance() -> None:
    areas = [
        perturbation_curve(
            quarter, WHITE, BLACK, rank_pixels(np.zeros((8, 8), dtype=np.float32), seed=seed), steps=64, batch=64
        ).area
        for seed in range(50)
    ]
    assert np.mean(areas) == pytest.approx(0.5, abs=0.03)
    assert len(set(areas)) > 25


def test_the_pointing_game_counts_the_share_of_maxima_inside() -> None:
    saliency = np.zeros((6, 6), dtype=np.float32)
    saliency[1, 1] = saliency[1, 5] = 2
    assert pointing_game_hit_rate(saliency, (0, 0, 3, 3), tolerance=0) == 0.5
    assert pointing_game_hit_rate(saliency, (0, 0, 3, 3), tolerance=3) == 1
    assert pointing_game_hit_rate(saliency, (2, 2, 4, 4), tolerance=0) == 0


def test_energy_is_the_positive_part_inside_the_box() -> None:
    saliency = right_map() - np.float32(0.25)
    assert energy_in(saliency, (0, 0, 4, 4)) == 1
    assert energy_in(saliency, (2, 0, 8, 8)) == pytest.approx(0.5)
    assert energy_in(-np.ones((3, 3), dtype=np.float32), (0, 0, 3, 3)) is None


def test_a_map_that_keeps_what_matters_drops_nothing() -> None:
    assert average_drop(quarter, WHITE, BLACK, torch.from_numpy(right_map())) == 0
    assert average_drop(quarter, WHITE, BLACK, torch.from_numpy(1 - right_map())) == 1


@pytest.mark.parametrize("canvas", ["model", "image"])
def test_a_true_map_beats_its_negative_on_every_metric(canvas: str) -> None:
    image = white_image(40, 32)
    black_box = classifier(brightness_of(slice(0, 8), slice(0, 10)), size=(32, 40))
    study = study_of(black_box, image, masks=1500, until=1, canvas=canvas)
    drawn = map_of(study, image)
    upside_down = SaliencyMap(-drawn.values, drawn.standard_error, 4, drawn.reliability)
    asked = MetricsRequest(
        metrics=["deletion", "insertion", "pointing-game", "energy-in-box", "average-drop"],
        substrate="black",
        box=(0, 0, 10, 8),
    )
    good, bad = (measure(black_box, image, study, shown, asked) for shown in (drawn, upside_down))
    for metric, better in {
        "deletion": -1,
        "insertion": 1,
        "pointing-game": 1,
        "energy-in-box": 1,
        "average-drop": -1,
    }.items():
        assert better * good[metric]["value"] > better * bad[metric]["value"], metric
        assert good[metric]["protocol"]


def test_a_metric_that_needs_a_box_says_so() -> None:
    image = white_image(16, 16)
    study = study_of(classifier(quarter), image, masks=100)
    with pytest.raises(RiseError, match="needs a box"):
        measure(classifier(quarter), image, study, map_of(study, image), MetricsRequest(metrics=["pointing-game"]))


def test_a_map_of_a_trained_model_does_not_look_like_that_of_random_weights() -> None:
    black_box = shapes.load()
    with Image.open(SAMPLES / "star.jpg") as image:
        study = study_of(black_box, image, masks=512, until=1)
        drawn = map_of(study, image, study.resolved.target_rows[0])
        found = measure(black_box, image, study, drawn, MetricsRequest(metrics=["randomised-model"]))
    assert abs(found["randomised-model"]["value"]) < 0.6
    assert found["randomised-model"]["protocol"]["masks"] == 512
    with pytest.raises(RiseError, match="random weights"):
        measure(classifier(quarter), white_image(8, 8), study, drawn, MetricsRequest(metrics=["randomised-model"]))
