"""Regions of annotated objects."""

import numpy as np

from app.contract.saliency.geometry import Viewport, viewport_of_image
from app.contract.survey import AnnotatedObject, RunLengths
from tests.support.annotated_pictures import run_lengths
from workers.survey.regions import box_around, decode_runs, hiding_mask, region_of

FRAME = viewport_of_image(40, 30)


def test_a_box_covers_its_pixels_and_no_others() -> None:
    inside = region_of([AnnotatedObject(label=0, box=(10, 5, 30, 15))], FRAME)
    expected = np.zeros((30, 40), dtype=bool)
    expected[5:15, 10:30] = True
    assert (inside != expected).sum() <= 2 * (20 + 10)  # a border of at most one pixel
    assert (inside & expected).sum() >= 0.9 * expected.sum()


def test_a_region_is_the_union_of_objects_at_any_size() -> None:
    objects = [
        AnnotatedObject(label=0, box=(0, 0, 20, 30)),
        AnnotatedObject(label=0, box=(20, 0, 40, 30), polygons=[[20, 0, 40, 0, 40, 30]]),
    ]
    inside = region_of(objects, Viewport(60, 80, (0.0, 0.0, 40.0, 30.0)))
    assert inside[:, :38].all()
    assert inside[2, 70]
    assert not inside[57, 44]
    assert abs(float(inside.mean()) - 0.75) < 0.02


def test_run_lengths_are_unpacked_column_by_column() -> None:
    mask = np.random.default_rng(0).random((30, 40)) > 0.5
    runs = RunLengths(height=30, width=40, counts=run_lengths(mask))
    assert np.array_equal(decode_runs(runs), mask)
    assert np.array_equal(region_of([AnnotatedObject(label=0, box=(0, 0, 40, 30), runs=runs)], FRAME), mask)


def test_what_hides_covers_the_object_and_a_margin_and_fades() -> None:
    region = np.zeros((100, 100), dtype=bool)
    region[40:60, 40:60] = True
    hiding = hiding_mask(region)
    assert hiding[region].min() > 0.98
    assert 0.05 < hiding[50, 64] < 0.95
    assert hiding[50, 75] == 0


def test_the_box_around_objects_holds_all_of_them() -> None:
    objects = [AnnotatedObject(label=0, box=(1, 8, 3, 9)), AnnotatedObject(label=0, box=(2, 4, 5, 6))]
    assert box_around(objects) == (1, 4, 5, 9)
