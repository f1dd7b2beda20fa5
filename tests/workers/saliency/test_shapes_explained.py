"""The whole mathematics on the shipped models: maps lie on what was drawn."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_fill_holes

from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import draw_one_object, draw_several_objects
from tests.support.black_boxes import draw_blocks, map_of, study_of
from workers.demo import shapes, shapes_detector


@pytest.mark.slow
def test_on_30_pictures_that_training_never_saw_the_peak_lies_inside_the_shape_in_at_least_28() -> None:
    """Inside its outline: the hole of a ring is what makes it one."""
    pictures = draw_held_out_pictures(Recipe(draw_one_object, side=96), 30, seed=2_026)
    black_box, inside = shapes.load(), 0
    for picture in pictures:
        image, drawn = Image.fromarray(picture.image), picture.objects[0]
        study = study_of(black_box, image, masks=1000, until=1)
        values = map_of(study, image, study.resolved.target_rows[0]).values[0]
        row, column = np.unravel_index(values.argmax(), values.shape)
        inside += bool(binary_fill_holes(drawn.mask)[row, column])
    assert inside >= 28


@pytest.mark.parametrize("seed", [5, 6])
def test_each_detection_of_a_picture_is_explained_by_its_own_place(seed: int) -> None:
    (picture,) = draw_held_out_pictures(Recipe(draw_several_objects, side=128), 1, seed=seed)
    image = Image.fromarray(picture.image)
    study = study_of(shapes_detector.load(), image, method_name="drise", masks=1536, until=1)
    blocks = list(study.run())
    for row, target in enumerate(study.resolved.targets):
        values = draw_blocks(study, blocks, image, row).values[0]
        place = np.unravel_index(values.argmax(), values.shape)
        assert target.box is not None
        x0, y0, x1, y1 = target.box
        assert x0 - 8 <= place[1] <= x1 + 8
        assert y0 - 8 <= place[0] <= y1 + 8
