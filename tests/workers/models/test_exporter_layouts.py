"""What exporters write is served right, or refused with the line to write: never silently wrong."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workers.blackbox import BlackBox, Classifier, Detector, Segmenter
from workers.explainer.targets import probabilities
from workers.model_io.model_entry import ModelEntry
from workers.models import load_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from tests.workers.models.exporter_files import (
    SIDE,
    Floats,
    Head,
    cell_scores,
    corners,
    write_classifier,
    write_detector,
    write_segmenter,
)

CPU = torch.device("cpu")


def red_and_blue() -> Floats:
    """Return a grey picture with a red cell and a blue one, `[3, SIDE, SIDE]`."""
    picture = np.full((3, SIDE, SIDE), 0.5, np.float32)
    picture[:, 16:32, 80:96] = np.array([1, 0, 0])[:, None, None]
    picture[:, 96:112, 32:48] = np.array([0, 0, 1])[:, None, None]
    return picture


def load(folder: Path, **fields: Any) -> BlackBox:
    entry = ModelEntry.model_validate({"loader": "onnx", "source": "it.onnx", **fields})
    return load_model(entry, folder=folder, device=CPU)


def scores_of(model: BlackBox) -> Floats:
    """Return a classifier's probabilities of the picture, `[C]`."""
    assert isinstance(model, Classifier)
    images = torch.from_numpy(red_and_blue())[None].to(model.dtype)
    found: Floats = probabilities(model, model.forward(images))[0].float().numpy()
    return found


def check_detections(model: BlackBox, head: Head) -> None:
    """Check that each proposal has its box, its best class and that class's score."""
    assert isinstance(model, Detector)
    found = model.forward(torch.from_numpy(red_and_blue())[None].to(model.dtype))
    right = cell_scores(red_and_blue(), head.classes)
    confidence = (found.classes * found.objectness.unsqueeze(-1))[0].float().numpy()
    tolerance = 2e-2 if head.half else 1e-3
    scale = 100 if head.half else 1
    assert np.abs(found.boxes_xyxy[0].float().numpy() - corners()).max() < 1e-3 * scale
    for cell in (13, 50):  # the red one and the blue one
        assert confidence[cell].argmax() == right[cell].argmax()
        if head.background == "none" or head.labelled:
            assert confidence[cell].max() == pytest.approx(right[cell].max(), abs=tolerance)
    assert right[13].argmax() == 0


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("batch", [None, 1, 3])
@pytest.mark.parametrize("classes", [1, 2, 80])
def test_one_number_a_class_is_a_probability_where_the_graph_ends_with_a_sigmoid(
    tmp_path: Path, classes: int, batch: int | None, half: bool
) -> None:
    write_classifier(tmp_path / "it.onnx", classes, ends="sigmoid", batch=batch, half=half)
    right = cell_scores(red_and_blue(), classes).max(0)
    assert scores_of(load(tmp_path)) == pytest.approx(right, abs=2e-2 if half else 1e-4)


def test_a_single_logit_is_turned_into_a_probability_by_the_sigmoid(tmp_path: Path) -> None:
    write_classifier(tmp_path / "it.onnx", 1, ends="none")
    model = load(tmp_path)
    assert scores_of(model) == pytest.approx(cell_scores(red_and_blue(), 1).max(0), abs=1e-4)
    with pytest.raises(ValueError, match='softmax of one score is always 1; write activation = "sigmoid"'):
        load(tmp_path, outputs={"activation": "softmax"})


def test_several_logits_are_those_of_a_softmax_and_the_catalogue_says_that_this_is_a_convention(tmp_path: Path) -> None:
    write_classifier(tmp_path / "it.onnx", 5, ends="none")
    model = load(tmp_path)
    assert isinstance(model, Classifier)
    assert model.activation == "softmax"
    assert {one.what: one.source for one in model.assumptions}["outputs.activation"] == "convention"


@pytest.mark.parametrize("ends", ["sigmoid", "softmax"])
def test_an_activation_that_the_model_has_applied_is_not_applied_again(tmp_path: Path, ends: Any) -> None:
    write_classifier(tmp_path / "it.onnx", 5, ends=ends)
    with pytest.raises(ValueError, match='applied twice: write activation = "probabilities"'):
        load(tmp_path, outputs={"activation": "softmax"})


ULTRALYTICS = {"author": "Ultralytics", "stride": "32", "task": "detect", "imgsz": f"[{SIDE}, {SIDE}]"}


def named(classes: int) -> dict[str, str]:
    return {"names": str({index: f"class {index}" for index in range(classes)})}


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("classes", [1, 2, 80])
@pytest.mark.parametrize(
    ("words", "head"),
    [
        ({}, {"packed": "boxes-scores", "columns_first": True, "box_format": "cxcywh"}),
        (
            {"description": "Ultralytics RTDETR-l model"},
            {"packed": "boxes-scores", "box_format": "cxcywh", "box_unit": "fraction"},
        ),
        ({"args": "{'nms': True}"}, {"packed": "boxes-score-label"}),
        ({"end2end": "True"}, {"packed": "boxes-score-label"}),
        (
            {"task": "segment"},
            {"packed": "boxes-scores", "columns_first": True, "box_format": "cxcywh", "extra_columns": 32},
        ),
        (
            {"task": "pose", "kpt_shape": "[17, 3]"},
            {"packed": "boxes-scores", "columns_first": True, "box_format": "cxcywh", "extra_columns": 51},
        ),
    ],
    ids=["yolo", "rt-detr", "nms", "end2end", "segment", "pose"],
)
def test_what_ultralytics_exports_needs_no_line(
    tmp_path: Path, words: dict[str, str], head: dict[str, Any], classes: int, names: bool, batch: int | None
) -> None:
    made = Head(classes, batch=batch, **head)
    write_detector(tmp_path / "it.onnx", made, ULTRALYTICS | words | (named(classes) if names else {}))
    labelled = made.packed == "boxes-score-label"
    if not names and labelled:
        with pytest.raises(ValueError, match="labels: neither the models file nor the source names the classes"):
            load(tmp_path)
        return
    model = load(tmp_path)
    check_detections(model, made)
    assert model.preprocessing.resize == ("stretch" if "description" in words else "letterbox")
    assert model.labels[-1] == (f"class {classes - 1}" if names else str(classes - 1))


def test_rotated_boxes_are_refused_by_their_name(tmp_path: Path) -> None:
    write_detector(tmp_path / "it.onnx", Head(2, packed="boxes-scores", extra_columns=1), ULTRALYTICS | {"task": "obb"})
    with pytest.raises(ValueError, match=r"obb.*rotated"):
        load(tmp_path)


@pytest.mark.parametrize("classes", [2, 80])
def test_rf_detr_calls_the_logits_of_classes_labels(tmp_path: Path, classes: int) -> None:
    names = {"boxes": "dets", "scores": "labels"}
    head = Head(classes, raw=True, box_format="cxcywh", box_unit="fraction", names=names)
    write_detector(tmp_path / "it.onnx", head)
    with pytest.raises(ValueError, match=r'outputs.activation.*write activation = "sigmoid"'):
        load(tmp_path)
    check_detections(load(tmp_path, outputs={"activation": "sigmoid"}), head)
    check_detections(load(tmp_path, outputs={"activation": "sigmoid", "scores": "labels", "boxes": "dets"}), head)


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("classes", [2, 80])
def test_the_second_input_of_rt_detr_gets_the_size_of_the_first(
    tmp_path: Path, classes: int, batch: int | None
) -> None:
    head = Head(classes, labelled=True, side_input="orig_target_sizes", batch=batch)
    write_detector(tmp_path / "it.onnx", head)
    check_detections(load(tmp_path, labels=[str(index) for index in range(classes)]), head)


def test_an_input_that_no_exporter_is_known_for_is_asked_for(tmp_path: Path) -> None:
    head = Head(2, labelled=True, side_input="threshold")
    write_detector(tmp_path / "it.onnx", head)
    with pytest.raises(ValueError, match=r"write inputs = \{ threshold = "):
        load(tmp_path, labels=["a", "b"])
    check_detections(load(tmp_path, labels=["a", "b"], options={"inputs": {"threshold": [0, 0]}}), head)


@pytest.mark.parametrize("classes", [2, 80])
def test_torchvision_exports_detectors_without_a_batch_axis(tmp_path: Path, classes: int) -> None:
    head = Head(classes, labelled=True, batch=1, batch_axis=False)
    write_detector(tmp_path / "it.onnx", head)
    check_detections(load(tmp_path, labels=[str(index) for index in range(classes)]), head)


@pytest.mark.parametrize("classes", [1, 2, 80])
def test_four_axes_are_scores_of_classes_at_places(tmp_path: Path, classes: int) -> None:
    write_segmenter(tmp_path / "it.onnx", classes, ends="sigmoid")
    model = load(tmp_path)
    assert isinstance(model, Segmenter)
    found = probabilities(model, model.forward(torch.from_numpy(red_and_blue())[None]))[0]
    assert found.flatten(1).T.numpy() == pytest.approx(cell_scores(red_and_blue(), classes), abs=1e-4)


@pytest.mark.parametrize(("classes", "activation"), [(1, "sigmoid"), (5, "softmax")])
def test_a_segmentation_models_logits_are_turned_into_probabilities_place_by_place(
    tmp_path: Path, classes: int, activation: str
) -> None:
    write_segmenter(tmp_path / "it.onnx", classes, ends="none")
    model = load(tmp_path)
    assert isinstance(model, Segmenter)
    assert model.activation == activation


OPEN = ("box_format", "box_unit", "activation", "background", "columns_first")


def random_head(chance: random.Random) -> Head:
    packed: Any = chance.choice([None, None, "boxes-scores", "boxes-objectness-scores", "boxes-score-label"])
    labelled = packed is None and chance.random() < 0.4
    single = packed == "boxes-score-label" or labelled
    return Head(
        classes=chance.choice([1, 2, 3, 5, 20, 59, 60, 80]),
        packed=packed,
        columns_first=packed is not None and chance.random() < 0.5,
        extra_columns=chance.choice([0, 0, 4, 51]) if packed else 0,
        labelled=labelled,
        raw=not single and packed != "boxes-objectness-scores" and chance.random() < 0.4,
        background=chance.choice(["none", "first", "last"]) if packed is None and not labelled else "none",
        box_format=chance.choice(["xyxy", "xywh", "cxcywh"]),
        box_unit=chance.choice(["pixels", "fraction"]),
        batch=chance.choice([None, 1, 2]),
        half=chance.random() < 0.2,
    )


def lines_for(head: Head, chance: random.Random) -> dict[str, Any]:
    """Return an entry that says some of what is so, and nothing else."""
    outputs = {
        name: getattr(head, name) for name in OPEN if chance.random() < 0.5 and (name != "columns_first" or head.packed)
    }
    if head.packed:
        outputs |= {"packed": head.packed, "extra_columns": head.extra_columns}
    fields: dict[str, Any] = {"outputs": outputs}
    if chance.random() < 0.6:
        fields["labels"] = [f"class {index}" for index in range(head.classes)]
    if chance.random() < 0.5:
        fields["task"] = "detection"
    return fields


@pytest.mark.parametrize("seed", range(300))
def test_a_head_of_any_layout_is_read_right_or_refused_with_the_line_to_write(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    head = random_head(chance)
    lines = lines_for(head, chance)
    write_detector(tmp_path / "it.onnx", head)
    try:
        model = load(tmp_path, **lines)
    except ValueError as refusal:
        assert any(words in str(refusal) for words in ("write ", "labels: neither")), refusal  # noqa: PT017
        return
    check_detections(model, head)


def test_most_heads_are_read_without_being_told_everything(tmp_path: Path) -> None:
    read = 0
    for seed in range(100):
        chance = random.Random(seed)
        head = random_head(chance)
        lines = lines_for(head, chance) | {"labels": [f"class {index}" for index in range(head.classes)]}
        write_detector(tmp_path / "it.onnx", head)
        try:
            load(tmp_path, **lines)
        except ValueError:
            continue
        read += 1
    assert read > 60, json.dumps(read)
