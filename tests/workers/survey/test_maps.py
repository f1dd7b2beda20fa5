"""Figures of one map."""

import numpy as np
import pytest

from app.contract.saliency.geometry import viewport_of_image
from workers.survey.maps import measure_map

FRAME = viewport_of_image(64, 64)


def test_the_share_inside_counts_positive_saliency_only() -> None:
    values = np.zeros((64, 64), dtype=np.float32)
    values[:16], values[32:48], values[48:] = 3, 1, -5
    region = np.zeros((64, 64), dtype=bool)
    region[:32] = True
    found = measure_map(values, FRAME, region, (0, 0, 64, 32))
    assert found.inside == pytest.approx(0.75)
    assert found.area == 0.5
    assert found.hit


def test_a_map_without_positive_saliency_has_no_share() -> None:
    found = measure_map(-np.ones((64, 64), dtype=np.float32), FRAME, np.ones((64, 64), dtype=bool), (0, 0, 64, 64))
    assert found.inside is None
    assert found.picture.max() == 0


def test_maps_are_aligned_to_the_picture_and_to_the_box() -> None:
    values = np.zeros((64, 64), dtype=np.float32)
    values[16:24, 40:48] = 1
    found = measure_map(values, FRAME, values > 0, (40, 16, 48, 24))
    assert np.unravel_index(found.picture.argmax(), (16, 16))[0] in {4, 5}
    assert found.picture.sum() == pytest.approx(4, rel=0.2)
    assert found.around[5:11, 5:11].min() > 0.9
    assert found.around[:3].max() == 0
