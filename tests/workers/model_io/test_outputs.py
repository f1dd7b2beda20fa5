"""Raw outputs of detectors in the layouts that exporters write all mean the same detections."""

import pytest
import torch
from torch import Tensor

from workers.blackbox import Detections
from workers.model_io.model_entry import OutputsEntry
from workers.model_io.outputs import DetectorLayout, class_scores, detections

SIZE = (100, 200)
CORNERS = torch.tensor([[[20.0, 10.0, 60.0, 50.0], [100.0, 40.0, 180.0, 90.0]]])
CLASSES = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]])
OBJECTNESS = torch.tensor([[0.9, 0.4]])
CENTRES = torch.tensor([[[40.0, 30.0, 40.0, 40.0], [140.0, 65.0, 80.0, 50.0]]])
FRACTION = torch.tensor([200.0, 100.0, 200.0, 100.0])


def read(outputs: dict[str, Tensor], activation: str = "probabilities", **entry: object) -> Detections:
    layout = DetectorLayout(OutputsEntry.model_validate(entry), 3, activation)  # type: ignore[arg-type]
    return detections(outputs, layout, SIZE)


def same(found: Detections, *, objectness: Tensor, classes: Tensor = CLASSES) -> bool:
    return all(
        torch.allclose(ours, theirs, atol=1e-5)
        for ours, theirs in (
            (found.boxes_xyxy, CORNERS),
            (found.classes, classes),
            (found.objectness, objectness),
        )
    )


def test_separate_outputs_with_objectness() -> None:
    assert same(read({"boxes": CORNERS, "scores": CLASSES, "objectness": OBJECTNESS}), objectness=OBJECTNESS)


def test_sigmoid_scores_without_objectness_are_as_sure_as_their_best_class() -> None:
    outputs = {"pred_boxes": CENTRES / FRACTION, "logits": CLASSES.logit()}
    found = read(outputs, "sigmoid", box_format="cxcywh", box_unit="fraction")
    sure = torch.tensor([[0.7, 0.6]])
    assert same(found, objectness=sure, classes=CLASSES / sure.unsqueeze(-1))


def test_softmax_with_no_object_last_is_as_sure_as_there_is_an_object() -> None:
    logits = torch.cat([CLASSES * OBJECTNESS.unsqueeze(-1), 1 - OBJECTNESS.unsqueeze(-1)], -1).log()
    found = read({"boxes": CORNERS, "logits": logits}, "softmax", background="last")
    assert same(found, objectness=OBJECTNESS)


@pytest.mark.parametrize("turned", [False, True])
def test_one_packed_output_either_way_round(turned: bool) -> None:
    packed = torch.cat([CENTRES, OBJECTNESS.unsqueeze(-1), CLASSES], -1)
    outputs = {"output0": packed.mT if turned else packed}
    assert same(
        read(outputs, packed="boxes-objectness-scores", columns_first=turned, box_format="cxcywh"),
        objectness=OBJECTNESS,
    )


def test_one_label_and_one_score_give_a_one_hot_vector() -> None:
    outputs = {"boxes": CORNERS, "labels": torch.tensor([[1, 9]]), "scores": OBJECTNESS}
    found = read(outputs, "softmax")
    assert found.classes.tolist() == [[[0, 1, 0], [0, 0, 0]]]
    assert torch.equal(found.objectness, OBJECTNESS)


def test_an_output_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match="a, b"):
        read({"a": CORNERS, "b": CLASSES}, scores="c", boxes="a")
    with pytest.raises(ValueError, match="which of a, b"):
        class_scores({"a": CLASSES, "b": CLASSES}, OutputsEntry())


def test_class_scores_lose_trailing_ones() -> None:
    assert class_scores({"x": torch.zeros(2, 5, 1, 1)}, OutputsEntry()).shape == (2, 5)
