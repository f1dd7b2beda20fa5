"""Scores where only a part of the image is visible."""

import numpy as np
import pytest
import torch

from app.contract.saliency.geometry import viewport_of_image
from app.contract.schemas import TargetSpec
from tests.support.black_boxes import brightness_of, classifier, study_of, white_image
from workers.blackbox import Detections, Detector, Preprocessing
from workers.explainer.visible_parts import score_parts


def test_a_model_that_sees_the_left_half_needs_the_left_half() -> None:
    plan = study_of(classifier(brightness_of(slice(None), slice(0, 32))), white_image(64, 64), masks=128)
    hiding = np.zeros((1, 64, 64), dtype=np.float32)
    hiding[:, :, :32] = 1
    found = score_parts(plan, [0], hiding, viewport_of_image(64, 64))
    assert found.whole == pytest.approx([1])
    assert found.objects == pytest.approx([1])
    assert found.background == pytest.approx([0])
    assert found.nothing == pytest.approx([0])
    assert [predicted and predicted.name for predicted in found.predicted] == ["it"]


def test_each_target_has_its_own_objects_and_half_hidden_is_half() -> None:
    plan = study_of(classifier(brightness_of(slice(None), slice(None))), white_image(64, 64), masks=128)
    hiding = np.stack([np.full((32, 32), share, dtype=np.float32) for share in (0.25, 0.75)])
    found = score_parts(plan, [0, 0], hiding, viewport_of_image(64, 64, max_side=32))
    assert found.objects == pytest.approx([0.25, 0.75])
    assert found.background == pytest.approx([0.75, 0.25])


def test_what_a_detector_predicts_is_the_most_confident_detection_in_the_place_of_each_target() -> None:
    boxes = torch.tensor([[[0.0, 0, 20, 20], [0, 0, 20, 18], [40, 40, 60, 60], [40, 0, 60, 20]]])
    classes = torch.eye(2)[[0, 1, 1, 0]][None]
    found = Detections(boxes, classes, torch.tensor([[0.6, 0.9, 0.8, 0.2]]))
    black_box = Detector(lambda _: found, ("cat", "dog"), Preprocessing(size=None))
    asked = [
        TargetSpec(label=0, box=box) for box in ((0, 0, 20, 20), (42, 42, 60, 60), (40, 0, 60, 20), (0, 40, 9, 60))
    ]
    plan = study_of(black_box, white_image(64, 64), asked, method_name="drise", rescue=False, masks=128)
    scores = score_parts(plan, range(4), np.zeros((4, 64, 64), dtype=np.float32), viewport_of_image(64, 64))
    assert [predicted and predicted.name for predicted in scores.predicted] == ["dog", "dog", None, None]
