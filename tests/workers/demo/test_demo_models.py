"""The demo models: what they can do on pictures over photographs that their training never saw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.demo_training.batches import draw_held_out_pictures, stack_images
from bench.demo_training.classifier_lessons import answer, measure_accuracy
from bench.demo_training.masking import certainty_from, mask_at_random
from bench.demo_training.outlines import Placement, cover, enclose
from bench.demo_training.photographs import HELD_OUT_PHOTOGRAPHS, TRAINING_PHOTOGRAPHS, load_photographs
from bench.demo_training.pictures import draw_placed
from bench.demo_training.precision import measure_precision, suppress
from bench.demo_training.samples import FOLDER
from bench.demo_training.train import ONE_OBJECT, SEVERAL_OBJECTS
from workers.blackbox import Classifier, Detector
from workers.blackbox.preprocessing import normalise, pixels, to_input
from workers.demo import shapes, shapes_detector
from workers.demo.shape_names import SHAPES


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return shapes.load()


@pytest.fixture(scope="module")
def detector() -> Detector:
    return shapes_detector.load()


def probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return classifier.forward(normalise(images, classifier.preprocessing)).softmax(dim=1)


def read_sample(name: str, black_box: Classifier | Detector) -> Tensor:
    with Image.open(FOLDER / f"{name}.jpg") as image:
        return to_input(pixels(image)[None], black_box.preprocessing)


def test_the_classifier_is_right_on_at_least_97_percent_of_held_out_pictures(classifier: Classifier) -> None:
    assert measure_accuracy(classifier, draw_held_out_pictures(ONE_OBJECT, 600, seed=5)) >= 0.97


@pytest.mark.parametrize("name", ["star", "ring"])
def test_the_classifier_is_right_and_confident_on_the_sample_pictures(classifier: Classifier, name: str) -> None:
    scores = probabilities(classifier, read_sample(name, classifier))[0]
    assert scores[SHAPES.index(name)] >= 0.9


def test_the_classifier_hardly_prefers_any_class_where_the_shape_is_hidden(classifier: Classifier) -> None:
    pictures = draw_held_out_pictures(ONE_OBJECT, 100, seed=6)
    images = stack_images(pictures) / 255
    whole = probabilities(classifier, images)
    for image, picture in zip(images, pictures, strict=True):
        left, top, right, bottom = (round(edge) for edge in picture.objects[0].box_xyxy)
        image[:, max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = 0
    labels = torch.tensor([[picture.objects[0].label] for picture in pictures])
    assert whole.gather(1, labels).mean() >= 0.85
    assert probabilities(classifier, images).gather(1, labels).mean() <= 0.4


def test_the_score_of_a_shape_grows_with_the_share_of_the_picture_that_shows(classifier: Classifier) -> None:
    generator = np.random.default_rng(3)
    pictures = draw_held_out_pictures(ONE_OBJECT, 100, seed=6)
    labels = torch.tensor([[picture.objects[0].label] for picture in pictures])
    images = stack_images(pictures) / 255
    grids = torch.from_numpy(generator.random((100, 1, 6, 6)))
    means = []
    for share in (0.1, 0.4, 0.7, 1.0):
        masks = (grids <= share).float().repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
        means.append(float(probabilities(classifier, images * masks).gather(1, labels).mean()))
    assert means == sorted(means)
    assert means[0] <= 0.4


def test_the_detector_reaches_a_mean_average_precision_of_nine_tenths(detector: Detector) -> None:
    assert measure_precision(detector, draw_held_out_pictures(SEVERAL_OBJECTS, 200, seed=5)) >= 0.9


def test_the_detector_gives_one_raw_proposal_per_cell_with_scores_between_0_and_1(detector: Detector) -> None:
    with torch.inference_mode():
        detections = detector.forward(torch.zeros(2, 3, 128, 128))
    assert detections.boxes_xyxy.shape == (2, 256, 4)
    assert detections.classes.shape == (2, 256, len(SHAPES))
    assert detections.objectness.shape == (2, 256)
    assert bool((detections.boxes_xyxy[..., 2:] > detections.boxes_xyxy[..., :2]).all())
    for scores in (detections.classes, detections.objectness):
        assert 0 <= float(scores.min()) <= float(scores.max()) <= 1


def test_the_detector_finds_all_four_shapes_of_the_sample_and_two_of_them_are_stars(detector: Detector) -> None:
    with torch.inference_mode():
        detections = detector.forward(normalise(read_sample("several", detector), detector.preprocessing))
    sureness, labels = (detections.classes[0] * detections.objectness[0, :, None]).max(dim=1)
    kept = [place for place in suppress(detections.boxes_xyxy[0], sureness) if sureness[place] >= 0.4]
    assert sorted(SHAPES[int(labels[place])] for place in kept) == ["circle", "star", "star", "triangle"]


def test_the_detector_answers_a_picture_alike_alone_and_in_a_batch(detector: Detector) -> None:
    images = normalise(stack_images(draw_held_out_pictures(SEVERAL_OBJECTS, 8, seed=8)) / 255, detector.preprocessing)
    with torch.inference_mode():
        together, alone = detector.forward(images), detector.forward(images[3:4])
    torch.testing.assert_close(together.boxes_xyxy[3:4], alone.boxes_xyxy, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(together.objectness[3:4], alone.objectness, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("weights", "megabytes"), [(shapes.WEIGHTS, 1.0), (shapes_detector.WEIGHTS, 1.5)])
def test_weights_are_small_enough_to_live_in_the_repository(weights: Path, megabytes: float) -> None:
    assert weights.stat().st_size < megabytes * 1e6


def test_no_training_photograph_is_held_out() -> None:
    assert not set(TRAINING_PHOTOGRAPHS) & set(HELD_OUT_PHOTOGRAPHS)
    assert all(photograph.shape[2] == 3 for photograph in load_photographs(HELD_OUT_PHOTOGRAPHS))


def test_the_same_seed_draws_the_same_pictures() -> None:
    first, second = (draw_held_out_pictures(SEVERAL_OBJECTS, 3, seed=11) for _ in range(2))
    assert all(np.array_equal(one.image, other.image) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("label", range(len(SHAPES)), ids=SHAPES)
def test_a_shape_fills_its_box_and_covers_its_area(label: int) -> None:
    placement = Placement(label, (50.3, 40.8), (30.0, 20.0), 0.4)
    coverage = cover(placement, (90, 100))
    x1, y1, x2, y2 = enclose(placement)
    rows, columns = np.nonzero(coverage > 0.1)
    tight = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    np.testing.assert_allclose(tight, (x1, y1, x2, y2), atol=1.6)
    assert 0.2 < coverage.sum() / ((x2 - x1) * (y2 - y1)) < 1.0


def test_a_shape_drawn_over_another_hides_it_in_its_mask() -> None:
    below = Placement(SHAPES.index("square"), (40, 40), (25, 25), 0.0)
    above = replace(below, label=SHAPES.index("circle"), centre_xy=(55, 40))
    picture = draw_placed(np.random.default_rng(0), np.full((80, 100, 3), 128, dtype=np.uint8), [below, above])
    assert not (picture.objects[0].mask & picture.objects[1].mask).any()
    assert picture.objects[0].mask.any()


def test_what_a_mask_hides_leaves_an_undecided_answer() -> None:
    certainty = certainty_from(torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]))
    answers = answer(certainty, torch.tensor([[3, 5], [3, 5], [3, -1]]), len(SHAPES))
    assert answers.argmax(dim=1)[:2].tolist() == [5, 3]
    torch.testing.assert_close(answers[2], torch.full((len(SHAPES),), 1 / len(SHAPES)))


def test_masking_leaves_what_the_mask_shows() -> None:
    images = torch.rand(32, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    masked, masks = mask_at_random(torch.Generator().manual_seed(1), images)
    shown = (masks == 1).expand_as(images)
    assert bool(torch.isclose(masked[shown], images[shown]).all())
    assert 0.3 < float(masks.mean()) < 0.95


def test_suppression_keeps_the_best_of_boxes_that_overlap() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    assert suppress(boxes, torch.tensor([0.5, 0.9, 0.7])) == [1, 2]
