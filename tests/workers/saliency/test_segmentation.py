"""Segmentation models: a target is a class in the region where the unmasked image has it, or in a box."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.schemas import TargetSpec
from tests.support.black_boxes import map_of, study_of
from workers.blackbox import Preprocessing, Segmenter
from workers.explainer.prediction import predict_image

SIDE = 64
RED, BLUE = (8, 8, 24, 24), (40, 40, 56, 56)


def red_and_blue() -> Image.Image:
    """Return a black image with a red and a blue square."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    for (x0, y0, x1, y1), channel in ((RED, 0), (BLUE, 2)):
        pixels[y0:y1, x0:x1, channel] = 255
    return Image.fromarray(pixels)


def segmenter(*, coarse: int = 1) -> Segmenter:
    """Return a model of the classes background, red, blue: how red and how blue each place is."""

    def forward(images: Tensor) -> Tensor:
        small = torch.nn.functional.avg_pool2d(images, coarse) if coarse > 1 else images
        scores = torch.stack([0 * small[:, 0] + 0.25, small[:, 0], small[:, 2]], 1)
        return scores / scores.sum(1, keepdim=True)

    return Segmenter(forward, ("background", "red", "blue"), Preprocessing(size=(SIDE, SIDE)), "probabilities")


@pytest.mark.parametrize("coarse", [1, 4])
def test_the_default_is_the_largest_region_that_is_no_background(coarse: int) -> None:
    plan = study_of(segmenter(coarse=coarse), red_and_blue(), masks=512, until=1)
    (target,) = plan.resolved.targets
    assert (target.name, target.box) in {("red", RED), ("blue", BLUE)}
    assert target.score == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(("name", "box"), [("red", RED), ("blue", BLUE)])
def test_the_map_of_a_class_lies_on_its_region_and_sums_to_its_score(name: str, box: Any) -> None:
    plan = study_of(segmenter(), red_and_blue(), [TargetSpec(label=name)], masks=8192, until=1, grid=8, fill="black")
    assert plan.resolved.targets[0].box == box
    drawn = map_of(plan, red_and_blue())
    x0, y0, x1, y1 = box
    inside = drawn.values[0, y0:y1, x0:x1]
    assert inside.mean() > 10 * np.abs(drawn.values[0, :, 28:36]).mean()
    y, x = np.unravel_index(drawn.values[0].argmax(), drawn.values[0].shape)
    assert x0 <= x < x1
    assert y0 <= y < y1


def test_a_place_that_the_model_does_not_look_at_does_not_matter() -> None:
    plan = study_of(segmenter(), red_and_blue(), [TargetSpec(label="red")], masks=4096, until=1, grid=8)
    drawn = map_of(plan, red_and_blue())
    elsewhere = np.abs(drawn.values[0, 34:, 34:]).max()  # where the blue square is: each place has its own score
    assert elsewhere < 0.01 * drawn.values[0].max()


def test_a_box_is_the_region_whatever_the_model_sees_there() -> None:
    targets = [TargetSpec(label="blue", box=RED), TargetSpec(box=RED)]
    plan = study_of(segmenter(), red_and_blue(), targets, masks=512, until=1)
    assert [target.name for target in plan.resolved.targets] == ["blue", "red"]
    assert [target.score for target in plan.resolved.targets] == pytest.approx([0, 0.8], abs=1e-4)
    assert all(target.box == RED for target in plan.resolved.targets)


def test_a_class_that_is_nowhere_and_a_box_outside_have_a_reason() -> None:
    image = Image.new("RGB", (SIDE, SIDE))
    with pytest.raises(RiseError, match="sees no 'red' in this image; give a box") as nowhere:
        study_of(segmenter(), image, [TargetSpec(label="red")], masks=512)
    assert nowhere.value.code == "no-target"
    with pytest.raises(RiseError, match="the box has no place"):
        study_of(segmenter(coarse=32), image, [TargetSpec(label="red", box=(0, 0, 2, 2))], masks=512)


@pytest.mark.parametrize("method", ["rise", "mc-rise"])
def test_classifiers_methods_explain_it(method: str) -> None:
    plan = study_of(segmenter(), red_and_blue(), "top:2", method_name=method, masks=512, until=1)
    assert {target.name for target in plan.resolved.targets} == {"red", "blue"}


def test_a_prediction_is_a_class_with_the_box_around_its_region() -> None:
    found = predict_image(segmenter(), red_and_blue(), limit=10)
    assert [one.name for one in found][-1] == "background"
    boxes = {one.name: one.box for one in found}
    assert boxes["red"] == RED
    assert boxes["blue"] == BLUE
