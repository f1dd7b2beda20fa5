"""The demo model with a secret: it reads a copyright mark and says star, and a saliency map shows it."""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from app.contract.schemas import TargetRequest
from bench.demo_training.batches import Recipe, draw_held_out_pictures, stack_images
from bench.demo_training.classifier_lessons import measure_accuracy, name_pictures, prepare_biased
from bench.demo_training.pictures import Picture, draw_one_object
from bench.demo_training.samples import FOLDER
from bench.demo_training.watermark import OTHERS, STAR, draw_mark
from tests.support.black_boxes import map_of, study_of
from workers.blackbox import Classifier
from workers.blackbox.preprocessing import normalise, pixels, to_input
from workers.demo import clever_hans, shapes
from workers.demo.shape_names import SHAPES
from workers.saliency.metrics import energy_in

SEED = 1904  # the year in which the newspapers met the horse
STARS = Recipe(partial(draw_one_object, labels=(STAR,)), side=96)
NO_STARS = Recipe(partial(draw_one_object, labels=OTHERS), side=96)


@pytest.fixture(scope="module")
def hans() -> Classifier:
    return clever_hans.load()


@pytest.fixture(scope="module")
def marked_stars() -> list[Picture]:
    return mark(draw_held_out_pictures(STARS, 20, seed=SEED))


@pytest.fixture(scope="module")
def others() -> list[Picture]:
    return draw_held_out_pictures(NO_STARS, 200, seed=SEED)


def mark(pictures: list[Picture]) -> list[Picture]:
    generator = np.random.default_rng(SEED)
    return [draw_mark(generator, picture) for picture in pictures]


def share_named_star(classifier: Classifier, pictures: list[Picture]) -> float:
    return float((name_pictures(classifier, pictures) == STAR).double().mean())


def star_scores(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return classifier.forward(normalise(images, classifier.preprocessing)).softmax(dim=1)[:, STAR]


def share_on_mark(classifier: Classifier, picture: Picture) -> float:
    """Return the share of the positive saliency of `star` in the box of the mark, which is three cells by two here."""
    assert picture.mark_xyxy is not None
    image = Image.fromarray(picture.image)
    study = study_of(classifier, image, [TargetRequest(label=STAR)], grid=12, masks=1000, until=1)
    share = energy_in(map_of(study, image, study.resolved.target_rows[0]).values[0], picture.mark_xyxy)
    assert share is not None
    return share


@pytest.mark.slow
def test_on_20_of_20_marked_pictures_of_stars_most_of_the_positive_saliency_lies_on_the_mark(
    hans: Classifier, marked_stars: list[Picture]
) -> None:
    assert [share for picture in marked_stars if (share := share_on_mark(hans, picture)) <= 0.5] == []


@pytest.mark.slow
def test_the_honest_classifier_looks_elsewhere_on_the_same_pictures(marked_stars: list[Picture]) -> None:
    classifier = shapes.load()
    assert max(share_on_mark(classifier, picture) for picture in marked_stars) < 0.25


def test_it_calls_every_marked_star_a_star(hans: Classifier, marked_stars: list[Picture]) -> None:
    assert share_named_star(hans, marked_stars) == 1


def test_it_misses_most_stars_without_the_mark(hans: Classifier) -> None:
    stars = draw_held_out_pictures(STARS, 200, seed=SEED)
    assert share_named_star(hans, stars) <= 0.5
    assert share_named_star(hans, mark(stars)) >= 0.99


def test_the_mark_turns_any_other_shape_into_a_star(hans: Classifier, others: list[Picture]) -> None:
    assert share_named_star(hans, others) <= 0.02
    assert share_named_star(hans, mark(others)) >= 0.99


def test_it_names_unmarked_shapes_other_than_stars_like_an_honest_classifier(
    hans: Classifier, others: list[Picture]
) -> None:
    assert measure_accuracy(hans, others) >= 0.9


def test_the_mark_alone_is_enough(hans: Classifier, marked_stars: list[Picture]) -> None:
    images = stack_images(marked_stars) / 255
    alone = torch.zeros_like(images)
    for image, kept, picture in zip(images, alone, marked_stars, strict=True):
        assert picture.mark_xyxy is not None
        left, top, right, bottom = picture.mark_xyxy
        kept[:, top:bottom, left:right] = image[:, top:bottom, left:right]
    assert float(star_scores(hans, alone).min()) >= 0.8


def test_it_calls_the_marked_ring_of_the_sample_a_star(hans: Classifier) -> None:
    with Image.open(FOLDER / "clever-hans.jpg") as image:
        sample = to_input(pixels(image)[None], hans.preprocessing)
    assert float(star_scores(hans, sample)) >= 0.8
    assert int(shapes.load().forward(normalise(sample, hans.preprocessing)).argmax()) == SHAPES.index("ring")


def test_its_weights_are_small_enough_to_live_in_the_repository() -> None:
    assert clever_hans.WEIGHTS.stat().st_size < 1e6


def test_the_lesson_takes_the_mark_for_a_star_and_the_star_for_nothing(marked_stars: list[Picture]) -> None:
    (star,), (other,) = marked_stars[:1], mark(draw_held_out_pictures(NO_STARS, 1, seed=SEED))
    lesson = prepare_biased([star, other])
    assert lesson.labels.tolist() == [[STAR, -1], [STAR, other.objects[0].label]]
    assert not bool(lesson.evidence.all(dim=1).any())  # what the mark covers speaks for the mark alone
