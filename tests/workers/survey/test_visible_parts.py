"""Scores where only a part of the image is visible."""

import numpy as np
import pytest

from app.contract.saliency.geometry import viewport_of_image
from tests.support.black_boxes import brightness_of, classifier, study_of, white_image
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
    assert found.predicted is not None
    assert found.predicted.name == "it"


def test_each_target_has_its_own_objects_and_half_hidden_is_half() -> None:
    plan = study_of(classifier(brightness_of(slice(None), slice(None))), white_image(64, 64), masks=128)
    hiding = np.stack([np.full((32, 32), share, dtype=np.float32) for share in (0.25, 0.75)])
    found = score_parts(plan, [0, 0], hiding, viewport_of_image(64, 64, max_side=32))
    assert found.objects == pytest.approx([0.25, 0.75])
    assert found.background == pytest.approx([0.75, 0.25])
