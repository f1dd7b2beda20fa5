import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.saliency.similarity import class_cosine, intersection_over_union, non_maximum_suppression, similarity

coordinates = st.floats(-50, 50, allow_nan=False, width=32)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates).map(
    lambda box: [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
)


def overlap(first: list[float], second: list[float]) -> float:
    return float(intersection_over_union(torch.tensor([first]), torch.tensor([[second]]))[0, 0, 0])


@given(boxes, boxes)
def test_overlap_is_symmetric_and_between_zero_and_one(first: list[float], second: list[float]) -> None:
    value = overlap(first, second)
    assert 0 <= value <= 1 + 1e-6
    assert value == pytest.approx(overlap(second, first), abs=1e-6)


def test_overlap_is_continuous_and_adds_no_pixel_to_a_side() -> None:
    assert overlap([0, 0, 2, 2], [1, 0, 3, 2]) == pytest.approx(1 / 3)
    assert overlap([0, 0, 1, 1], [1, 0, 2, 1]) == 0
    assert overlap([0, 0, 4, 2], [0, 0, 4, 2]) == 1


def test_boxes_without_area_and_vectors_without_length_give_zero_and_never_nan() -> None:
    assert overlap([1, 1, 1, 1], [1, 1, 1, 1]) == 0
    assert overlap([3, 3, 1, 1], [0, 0, 5, 5]) == 0
    assert class_cosine(torch.zeros(1, 3), torch.ones(1, 2, 3)).tolist() == [[[0.0, 0.0]]]


def proposals() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    corners = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 5]]])
    classes = torch.tensor([[[1.0, 0], [0, 1], [0, 1]]])
    return corners, classes, torch.tensor([[0.5, 0.9, 0.8]])


@pytest.mark.parametrize(("part", "expected"), [("whole", 0.5), ("location", 0.5), ("class", 0.5)])
def test_the_best_proposal_counts(part: str, expected: float) -> None:
    target = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[1.0, 0]])
    assert float(similarity(*target, proposals(), part=part)) == pytest.approx(expected)  # type: ignore[arg-type]


def test_whole_location_and_class_look_at_different_things() -> None:
    box, other_class = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[0.0, 1]])
    assert float(similarity(box, other_class, proposals(), part="whole")) == pytest.approx(0.5 * 1 * 0.8)
    assert float(similarity(box, other_class, proposals(), part="location")) == pytest.approx(0.5)
    assert float(similarity(box, other_class, proposals(), part="class")) == pytest.approx(0.8)


def test_a_target_without_a_class_takes_any() -> None:
    box, nothing = torch.tensor([[0.0, 0, 10, 5]]), torch.full((1, 2), float("nan"))
    assert float(similarity(box, nothing, proposals(), part="whole")) == pytest.approx(0.8)


def test_a_detector_that_proposes_nothing_scores_zero() -> None:
    empty = torch.zeros(4, 0, 4), torch.zeros(4, 0, 2), torch.zeros(4, 0)
    assert similarity(torch.rand(3, 4), torch.rand(3, 2), empty, part="whole").tolist() == [[0.0] * 3] * 4


@pytest.mark.parametrize("part", ["whole", "class", "location"])
def test_a_score_is_the_largest_product_over_all_proposals(part: str) -> None:
    random = torch.Generator().manual_seed(1)
    corners, sides = (50 * torch.rand(4, 60, 2, generator=random) for _ in range(2))
    boxes, classes = torch.cat([corners, corners + sides], -1), torch.rand(4, 60, 5, generator=random)
    objectness = torch.rand(4, 60, generator=random)
    scores = similarity(boxes[0, :3], classes[0, :3], (boxes, classes, objectness), part=part)  # type: ignore[arg-type]
    for image, target in itertools.product(range(4), range(3)):
        products = [0.0]
        for box, vector, confidence in zip(boxes[image], classes[image], objectness[image], strict=True):
            shared, cosine = (
                overlap(boxes[0, target].tolist(), box.tolist()),
                float(class_cosine(classes[0, target][None], vector[None, None])[0, 0, 0]),
            )
            factors = {"whole": shared * cosine, "class": (shared >= 0.5) * cosine, "location": shared}
            products.append(float(confidence) * factors[part])
        assert float(scores[image, target]) == pytest.approx(max(products), abs=1e-6)


def test_padding_does_not_change_a_score() -> None:
    corners, classes, objectness = proposals()
    padded = (
        torch.cat([corners, torch.zeros(1, 2, 4)], 1),
        torch.cat([classes, torch.ones(1, 2, 2)], 1),
        torch.cat([objectness, torch.zeros(1, 2)], 1),
    )
    target = torch.rand(5, 4), torch.rand(5, 2)
    assert torch.equal(similarity(*target, proposals(), part="whole"), similarity(*target, padded, part="whole"))


def test_two_proposals_for_one_object_are_one_detection() -> None:
    corners = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [20, 0, 30, 10]])
    labels = torch.tensor([0, 0, 1, 0])
    assert non_maximum_suppression(corners, labels, torch.tensor([0.6, 0.9, 0.5, 0.7])) == [1, 3, 2]
