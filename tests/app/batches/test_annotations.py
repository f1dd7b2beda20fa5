"""COCO annotations of a batch: what is taken, and what is said of the rest."""

import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from app.batches.annotations import (
    MOST_BYTES,
    JoinedAnnotations,
    join_annotations,
    read_annotations,
    read_survey_options,
)
from app.batches.store import BatchItem
from app.contract.errors import RiseError

LABELS = ["cat", "hot dog"]


def items(*names: str) -> list[BatchItem]:
    return [BatchItem(index=index, name=name, kind="entry", source="0") for index, name in enumerate(names)]


def a_file(*annotations: Any, **changes: Any) -> dict[str, Any]:
    images = [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}, {"id": 8, "file_name": "val/b.png"}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "hot_dog"}]
    return {"images": images, "categories": categories, "annotations": list(annotations), **changes}


def an_object(**changes: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 5, 20, 10], **changes}


def joined(data: dict[str, Any], **table: int | str) -> JoinedAnnotations:
    return join_annotations(data, items("a.png", "b.png"), LABELS, table)


def complaint(data: dict[str, Any]) -> tuple[str, str]:
    """Return pointer and words of the one error in a file that has a good object besides."""
    good = an_object(id=99)
    found = joined({**data, "annotations": [good, *data["annotations"]]}).summary
    assert found.objects == 1
    assert found.error_count == 1
    return found.errors[0].field, found.errors[0].detail


def test_objects_are_joined_by_the_names_of_files_and_of_labels() -> None:
    found = joined(a_file(an_object(), an_object(image_id=8, category_id=2, bbox=[0, 0, 5, 5])))
    assert found.images[0].objects[0].box == (10, 5, 30, 15)
    assert found.images[0].size == (40, 30)
    assert found.images[1].objects[0].label == 1  # hot_dog is the label "hot dog"; val/b.png is b.png
    assert found.images[1].size is None
    assert (found.summary.images, found.summary.objects, found.summary.error_count) == (2, 2, 0)
    assert [labels_of(found, index) for index in range(3)] == [[0], [1], None]


def labels_of(found: JoinedAnnotations, index: int) -> list[int] | None:
    item = found.with_targets(BatchItem(index=index, name="", kind="entry", source="0"), "rise")
    assert item.boxes is None
    return item.labels


def test_of_a_detector_each_object_is_a_target_the_twenty_largest_at_most() -> None:
    found = joined(a_file(*(an_object(id=side, bbox=[0, 0, side, side]) for side in range(1, 31))))
    assert labels_of(found, 0) == [0]
    item = found.with_targets(items("a.png")[0], "drise")
    assert item.boxes == [(0, 0, side, side) for side in range(30, 10, -1)]
    assert item.labels == [0] * 20
    assert (found.unexplained("drise"), found.unexplained("rise")) == (10, 0)


def test_of_a_classifier_the_objects_of_twenty_classes_are_explained() -> None:
    names = [f"class {index}" for index in range(23)]
    categories = [{"id": index, "name": name} for index, name in enumerate(names)]
    objects = [an_object(id=f"{label} {copy}", category_id=label) for label in range(23) for copy in range(2)]
    found = join_annotations(a_file(*objects, categories=categories), items("a.png"), names, {})
    assert labels_of(found, 0) == list(range(20))
    assert (found.unexplained("rise"), found.unexplained("drise")) == (2 * 3, 46 - 20)


def test_a_name_that_two_images_share_joins_neither_of_them() -> None:
    data = a_file(an_object())
    with pytest.raises(RiseError, match="no image was sent by the name"):
        join_annotations(data, items("one/a.png", "two/a.png"), LABELS, {})


def test_a_table_says_which_label_a_category_means() -> None:
    data = a_file(an_object(), categories=[{"id": 1, "name": "Katze"}])
    assert labels_of(joined(data, Katze="hot dog"), 0) == [1]
    assert labels_of(joined(data, Katze=0), 0) == [0]
    with pytest.raises(RiseError, match="'Katze' is no label of the model"):
        joined(data)
    with pytest.raises(RiseError):
        joined(data, Katze=2)


def test_a_box_is_clipped_to_the_image_and_a_polygon_has_its_own() -> None:
    found = joined(a_file(an_object(bbox=[-5, 20, 20, 20]), an_object(bbox=None, segmentation=[[1, 2, 9, 2, 9, 8]])))
    assert [item.box for item in found.images[0].objects] == [(0, 20, 15, 30), (1, 2, 9, 8)]
    assert found.images[0].objects[1].polygons == [[1, 2, 9, 2, 9, 8]]


def test_run_lengths_are_read_as_coco_packs_them() -> None:
    mask = np.random.default_rng(0).random((30, 40)) > 0.7
    packed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": [30, 40], "counts": packed["counts"].decode()}
    found = joined(a_file(an_object(bbox=None, segmentation=text))).images[0].objects[0]
    assert found.runs is not None
    runs = {"size": [30, 40], "counts": found.runs.counts}
    assert np.array_equal(coco.decode(coco.frPyObjects(runs, 30, 40)), mask)
    assert found.box == (0, 0, 40, 30)


@pytest.mark.parametrize(
    ("data", "pointer", "words"),
    [
        (a_file(an_object(image_id=9)), "/annotations/1/image_id", "no usable image"),
        (a_file(an_object(image_id=7.5)), "/annotations/1/image_id", "an id is"),
        (a_file(an_object(category_id=3)), "/annotations/1/category_id", "no category"),
        (a_file(an_object(bbox=[50, 5, 20, 10])), "/annotations/1/bbox", "outside of the image, which is 40 x 30"),
        (a_file(an_object(bbox=[1, 2, 0, 10])), "/annotations/1/bbox", "above 0"),
        (a_file(an_object(bbox=[1, 2, 3])), "/annotations/1/bbox", "[x, y, width, height]"),
        (a_file(an_object(bbox=["1", 2, 3, 4])), "/annotations/1/bbox", "[x, y, width, height]"),
        (a_file(an_object(bbox=[1e300, 2, 3, 4])), "/annotations/1/bbox", "[x, y, width, height]"),
        (a_file(an_object(bbox=None)), "/annotations/1/bbox", "a box or a segmentation"),
        (a_file(an_object(segmentation=[[1, 2, 3]])), "/annotations/1/segmentation/0", "three points"),
        (a_file(an_object(segmentation=[[1, 2] * 20_000])), "/annotations/1/segmentation/0", "three points"),
        (a_file(an_object(segmentation={"size": [30, 40], "counts": [5]})), "/annotations/1/segmentation/counts", ""),
        (a_file(an_object(segmentation={"size": [9, 9], "counts": [81]})), "/annotations/1/segmentation/size", "9 x 9"),
        (a_file(an_object(segmentation={"size": [30, 40], "counts": "\n"})), "/annotations/1/segmentation/counts", ""),
        (a_file("text"), "/annotations/1", "not an object"),
    ],
)
def test_a_bad_object_is_an_error_with_a_pointer_and_stops_no_other(
    data: dict[str, Any], pointer: str, words: str
) -> None:
    place, detail = complaint(data)
    assert place == f"/annotations{pointer}"
    assert words in detail


def test_bad_images_and_categories_are_errors_with_pointers_too() -> None:
    images = [{"id": 7, "file_name": "a.png"}, {"id": 7, "file_name": "b.png"}, {"id": 9, "file_name": "c.png"}, {}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3}]
    found = joined(a_file(an_object(), images=images, categories=categories)).summary
    assert [error.field.removeprefix("/annotations/") for error in found.errors] == [
        "images/1",
        "images/2/file_name",
        "images/3/id",
        "categories/1/name",
        "categories/2/name",
    ]


def test_a_mask_of_a_size_that_no_image_has_is_not_unpacked() -> None:
    giant = {"size": [10**6, 10**6], "counts": [10**12]}
    place, detail = complaint(a_file(an_object(image_id=8, segmentation=giant)))
    assert place.endswith("/segmentation/size")
    assert "at most" in detail


def test_of_many_errors_the_first_hundred_are_listed_and_all_are_counted() -> None:
    found = joined(a_file(an_object(), *[an_object(image_id=0)] * 500)).summary
    assert (len(found.errors), found.error_count) == (100, 500)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xd8\xff", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"images": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (b'{"images": [], "annotations": {}}', "the lists"),
        (b'{"images": [NaN], "annotations": [], "categories": []}', "not JSON"),
        (b'{"images": [], "annotations": [], "categories": []}', None),
    ],
)
def test_what_is_no_coco_file_is_refused_as_a_whole(content: bytes, words: str | None) -> None:
    if words is None:
        assert read_annotations(io.BytesIO(b"\xef\xbb\xbf" + content)) == json.loads(content)
        return
    with pytest.raises(RiseError, match=words) as refusal:
        read_annotations(io.BytesIO(content))
    assert refusal.value.code == "invalid-parameters"


@pytest.mark.parametrize(
    "content", [b" " * (MOST_BYTES + 1), b"[" + b"1," * 5_000_001 + b"1]"], ids=["bytes", "values"]
)
def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(content: bytes) -> None:
    with pytest.raises(RiseError, match="32,000,000 bytes") as refusal:
        read_annotations(io.BytesIO(content))
    assert refusal.value.code == "request-too-large"


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"explain": "class"}, "/explain"),
        ({"categories": [1]}, "/categories"),
        ({"categories": {"a": True}}, "/categories"),
        ({"targets": "top:3"}, "/targets"),
    ],
)
def test_options_that_make_no_sense_with_annotations_are_refused(fields: dict[str, Any], pointer: str) -> None:
    with pytest.raises(RiseError) as refusal:
        read_survey_options(fields)
    assert refusal.value.errors[0].field == pointer
