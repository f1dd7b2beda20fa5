"""Masks of the image's own size: cut to a box, and enlarged."""

import numpy as np

from app.contract.schemas import ImageInfo
from app.rendering.highlights import crop_to_box, resize_mask

IMAGE = ImageInfo(width=8, height=4, sha256="0" * 64, media_type="image/png")


def test_outside_of_a_box_nothing_counts() -> None:
    values = np.ones((2, 4), dtype=np.float32)
    assert crop_to_box(values, (2.0, 0.0, 6.0, 2.0), IMAGE).tolist() == [[0, 1, 1, 0], [0, 0, 0, 0]]


def test_a_box_that_begins_inside_of_a_value_holds_the_whole_of_it() -> None:
    values = np.ones((2, 4), dtype=np.float32)
    assert crop_to_box(values, (3.0, 1.0, 4.5, 2.5), IMAGE).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0]]


def test_a_mask_is_enlarged_to_the_image() -> None:
    mask = np.array([[False, True, True, False], [False, False, True, True]])
    assert resize_mask(mask, IMAGE).tolist() == np.repeat(np.repeat(mask, 2, axis=0), 2, axis=1).tolist()
