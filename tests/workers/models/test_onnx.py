import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from tests.workers.models.explaining import apart, collection_of, entry, explain, loaded, reason_of
from tests.workers.models.exports import FIELDS, classifier_network, detector_network, pictures
from workers.blackbox import Classifier, Detector
from workers.demo import shapes
from workers.demo.shape_names import SHAPES
from workers.model_io.model_entry import ModelEntry
from workers.models import load_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from tests.workers.models import onnx_files  # noqa: E402 - it needs onnx

DETECTOR_OUTPUTS = ["boxes", "scores", "objectness"]
FLOAT, HALF, BYTE, DOUBLE = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "UINT8", "DOUBLE"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo networks as ONNX files: `c.onnx`, `d.onnx`, and `four.onnx` that takes four pictures."""
    folder = tmp_path_factory.mktemp("onnx")
    onnx_files.export(classifier_network(), pictures(96), folder / "c.onnx", ["logits"])
    onnx_files.export(classifier_network(), pictures(96, 4), folder / "four.onnx", ["logits"], fixed=True)
    onnx_files.export(detector_network(), pictures(128), folder / "d.onnx", DETECTOR_OUTPUTS)
    return folder


@pytest.mark.parametrize("file", ["c.onnx", "four.onnx"])
def test_a_classifier_gives_the_map_that_torch_gives(exported: Path, tmp_path: Path, file: str) -> None:
    _, torch_map = explain(tmp_path, entry("python", "workers.demo.shapes:load"))
    record, onnx_map = explain(tmp_path, entry("onnx", exported / file, FIELDS))
    assert record.targets[0].name == "star"
    assert apart(torch_map, onnx_map) < 1e-3


def test_a_detector_gives_the_map_that_torch_gives(exported: Path, tmp_path: Path) -> None:
    reference, torch_map = explain(tmp_path, entry("python", "workers.demo.shapes_detector:load"), "several")
    record, onnx_map = explain(tmp_path, entry("onnx", exported / "d.onnx", FIELDS), "several")
    assert record.targets[0].name == reference.targets[0].name
    assert record.targets[0].box == pytest.approx(reference.targets[0].box, abs=1e-2)
    assert apart(torch_map, onnx_map) < 1e-3


def test_a_file_that_describes_itself_needs_no_more_than_its_name(exported: Path, tmp_path: Path) -> None:
    statistics = {"mean": [0.5] * 3, "std": [0.25] * 3}
    words = {"task": "classification", "labels": json.dumps(SHAPES), "preprocessing": json.dumps(statistics)}
    onnx_files.describe(exported / "c.onnx", tmp_path / "whole.onnx", words)
    black_box = loaded(tmp_path, entry("onnx", "whole.onnx")).black_box
    assert black_box.labels == SHAPES
    assert black_box.preprocessing == shapes.PREPROCESSING


def test_the_operator_has_the_last_word_on_what_a_file_says(exported: Path, tmp_path: Path) -> None:
    words = {"labels": json.dumps(["wrong"] * 6), "preprocessing": json.dumps({"mean": [0.1], "resize": "crop"})}
    onnx_files.describe(exported / "c.onnx", tmp_path / "whole.onnx", words)
    black_box = loaded(tmp_path, entry("onnx", "whole.onnx", FIELDS)).black_box
    assert black_box.labels == SHAPES
    assert black_box.preprocessing.mean == (0.5, 0.5, 0.5)
    assert black_box.preprocessing.resize == "crop"


def test_a_detector_with_the_metadata_of_ultralytics_needs_no_more_than_its_name(tmp_path: Path) -> None:
    packed = np.zeros((1, 6, 5), np.float32)
    packed[0, :, 0] = [20, 30, 8, 4, 0.1, 0.7]  # centre, width, height, scores of two classes
    words = {"task": "detect", "names": "{0: 'cat', 1: 'dog'}", "imgsz": "[64, 96]"}
    onnx_files.constant(tmp_path / "d.onnx", {"output0": packed}, words)
    model = loaded(tmp_path, entry("onnx", "d.onnx"))
    assert isinstance(model.black_box, Detector)
    assert model.black_box.labels == ("cat", "dog")
    assert model.black_box.preprocessing.resize == "letterbox"
    assert model.black_box.preprocessing.size == (64, 96)
    assert model.batch == 1
    found = model.black_box.forward(torch.zeros(3, 3, 64, 96))
    assert found.boxes_xyxy.shape == (3, 5, 4)
    assert found.boxes_xyxy[2, 0].tolist() == [16, 28, 24, 32]
    confidence = found.classes * found.objectness.unsqueeze(-1)
    assert int(confidence[1, 0].argmax()) == 1


def test_a_detector_of_ultralytics_that_drops_doubles_itself_gives_one_label_a_box(tmp_path: Path) -> None:
    rows = np.array([[[10, 20, 30, 40, 0.75, 1], [1, 2, 3, 4, 0.5, 0]]], np.float32)
    words = {"task": "detect", "names": "{0: 'cat', 1: 'dog', 2: 'cow'}", "imgsz": "[64, 96]", "end2end": "True"}
    onnx_files.constant(tmp_path / "d.onnx", {"output0": rows}, words)
    black_box = loaded(tmp_path, entry("onnx", "d.onnx")).black_box
    assert isinstance(black_box, Detector)
    found = black_box.forward(torch.zeros(1, 3, 64, 96))
    assert found.boxes_xyxy[0].tolist() == rows[0, :, :4].tolist()
    assert found.classes[0].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert found.objectness[0].tolist() == [0.75, 0.5]


@pytest.mark.parametrize(
    ("shape", "kind", "layout"),
    [
        (["n", 3, 20, 30], FLOAT, None),
        (["n", 3, 20, 30], HALF, None),
        (["n", 20, 30, 3], FLOAT, None),
        (["n", 20, 30, 3], BYTE, None),
        ([5, 20, 30, 3], BYTE, None),
        (["n", "h", "w", 3], FLOAT, None),
        (["n", "h", "w", "c"], FLOAT, "nhwc"),
    ],
)
def test_pictures_arrive_whatever_the_layout_the_type_and_the_batch(
    tmp_path: Path, shape: list[Any], kind: int, layout: str | None
) -> None:
    onnx_files.mean_color(tmp_path / "mean.onnx", shape, kind)
    more = 'labels = ["r", "g", "b"]\npreprocessing = { size = [20, 30] }\n'
    more += f'options = {{ layout = "{layout}" }}\n' if layout else ""
    model = loaded(tmp_path, entry("onnx", "mean.onnx", more))
    assert isinstance(model.black_box, Classifier)
    colors = torch.tensor([[0.0, 51.0, 255.0]]).expand(7, 3) / (1 if kind == BYTE else 255)
    images = colors[..., None, None].expand(7, 3, 20, 30).to(model.black_box.dtype)
    assert torch.allclose(model.black_box.forward(images), colors, atol=1e-3)


def test_a_file_of_bytes_is_shown_pixel_values_up_to_255(tmp_path: Path) -> None:
    onnx_files.mean_color(tmp_path / "mean.onnx", ["n", 96, 96, 3], BYTE)
    preprocessing = loaded(tmp_path, entry("onnx", "mean.onnx")).black_box.preprocessing
    assert preprocessing.std == pytest.approx((1 / 255,))


def test_one_channel_means_grey_pictures(tmp_path: Path) -> None:
    onnx_files.mean_color(tmp_path / "mean.onnx", ["n", 1, 96, 96])
    record, _ = explain(tmp_path, entry("onnx", "mean.onnx"))
    assert record.targets[0].name == "0"


def test_a_fixed_batch_is_what_the_model_gets_and_what_the_loop_uses(exported: Path, tmp_path: Path) -> None:
    model = loaded(tmp_path, entry("onnx", exported / "four.onnx", FIELDS))
    assert model.batch == 4
    assert isinstance(model.black_box, Classifier)
    images = pictures(96, 6)
    with torch.inference_mode():
        expected = classifier_network()(images)
    assert torch.allclose(model.black_box.forward(images), expected, atol=1e-4)


def test_outputs_stay_what_they_were_when_the_model_is_asked_again(exported: Path, tmp_path: Path) -> None:
    black_box = loaded(tmp_path, entry("onnx", exported / "c.onnx", FIELDS)).black_box
    assert isinstance(black_box, Classifier)
    first = black_box.forward(pictures(96))
    kept = first.clone()
    for scale in range(2, 20):
        black_box.forward(pictures(96) * scale)
    assert torch.equal(first, kept)


def test_the_digest_knows_the_weights_beside_the_file(exported: Path, tmp_path: Path) -> None:
    for name in ("c.onnx", "c.onnx.data"):
        shutil.copy(exported / name, tmp_path / name)
    before = loaded(tmp_path, entry("onnx", "c.onnx", FIELDS))
    weights = bytearray((tmp_path / "c.onnx.data").read_bytes())
    weights[:4] = np.float32(0.125).tobytes()
    (tmp_path / "c.onnx.data").write_bytes(weights)
    after = loaded(tmp_path, entry("onnx", "c.onnx", FIELDS))
    assert [path.name for path in before.black_box.files] == ["c.onnx", "c.onnx.data"]
    assert before.digest != after.digest


def test_scores_that_add_up_to_one_are_taken_as_probabilities(tmp_path: Path) -> None:
    onnx_files.constant(tmp_path / "p.onnx", {"output": np.array([[0.25, 0.75]], np.float32)})
    onnx_files.constant(tmp_path / "l.onnx", {"output": np.array([[-1.0, 2.0]], np.float32)})
    found = [loaded(tmp_path, entry("onnx", name)).black_box for name in ("p.onnx", "l.onnx")]
    assert [box.activation for box in found if isinstance(box, Classifier)] == ["probabilities", "softmax"]


@pytest.mark.parametrize("threads", [1, 4])
def test_a_model_has_the_threads_that_its_options_say(tmp_path: Path, threads: int) -> None:
    onnx_files.mean_color(tmp_path / "mean.onnx", ["n", 3, 8, 8])
    entry = ModelEntry(loader="onnx", source="mean.onnx", options={"threads": threads})
    before = psutil.Process().num_threads()
    model = load_model(entry, folder=tmp_path, device=torch.device("cpu"))
    assert psutil.Process().num_threads() - before == threads - 1
    assert isinstance(model, Classifier)


def test_too_little_memory_is_what_torch_calls_it_so_that_the_loop_halves_its_batch(tmp_path: Path) -> None:
    onnx_files.enormous(tmp_path / "e.onnx")
    with pytest.raises(torch.OutOfMemoryError):
        load_model(ModelEntry(loader="onnx", source="e.onnx"), folder=tmp_path, device=torch.device("cpu"))


REFUSED = [
    ("missing.onnx", "", "there is no such file"),
    ("text.onnx", "", "this is no ONNX file"),
    ("truncated.onnx", "", "this is no ONNX file"),
    ("alone.onnx", "", "c.onnx.data, and there is no such file beside it"),
    ("two.onnx", "", "the model takes 2 inputs (images [?, 3, 8, 8], sizes [?, 3, 8, 8])"),
    ("four.onnx", "", "4 channels"),
    ("flat.onnx", "", "pictures have four axes"),
    ("double.onnx", "", "the model's input is a tensor(double)"),
    ("any.onnx", "", "preprocessing.size"),
    ("good.onnx", 'labels = ["one"]', "labels: 1 names for the model's 3 classes"),
    ("good.onnx", "preprocessing = { size = 9 }", "preprocessing.size: (9, 9) asked for, but the model takes (8, 8)"),
    ("good.onnx", 'preprocessing = { channels = "grey" }', "preprocessing.channels"),
    ("good.onnx", 'precision = "float16"', "precision"),
    ("good.onnx", 'options = { providers = ["tensorrt", "cpu"] }', "tensorrt is not there; this ONNX Runtime has cpu"),
    ("good.onnx", 'outputs = { scores = "logit" }', "outputs.scores = 'logit': the model has logits"),
    ("rotated.onnx", "", "task: the file says 'obb', which cannot be explained: its boxes are rotated"),
    ("raw.onnx", 'labels = ["a", "b"]', "outputs.activation: scores from -3 to 4 are no probabilities"),
    ("what.onnx", "", "task: the outputs (output [12, 2, 4]) might be anything"),
]


@pytest.fixture(scope="module")
def refused(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that do not load, or not with every entry."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "text.onnx").write_text("no model")
    whole = (exported / "c.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "alone.onnx").write_bytes(whole)
    made: list[tuple[str, list[int | str], int, int]] = [
        ("two", ["n", 3, 8, 8], FLOAT, 2),
        ("four", ["n", 4, 8, 8], FLOAT, 1),
        ("flat", ["n", 3, 8], FLOAT, 1),
        ("double", ["n", 3, 8, 8], DOUBLE, 1),
        ("any", ["n", 3, "h", "w"], FLOAT, 1),
        ("good", ["n", 3, 8, 8], FLOAT, 1),
    ]
    for name, shape, kind, inputs in made:
        onnx_files.mean_color(folder / f"{name}.onnx", shape, kind, inputs=inputs)
    boxes, scores = np.zeros((1, 2, 4), np.float32), np.array([[[-3, 4], [1, 1]]], np.float32)
    onnx_files.constant(folder / "raw.onnx", {"boxes": boxes, "scores": scores})
    onnx_files.constant(folder / "what.onnx", {"output": boxes})
    onnx_files.constant(folder / "rotated.onnx", {"output": boxes}, {"task": "obb"})
    return folder


@pytest.mark.parametrize(("file", "more", "words"), REFUSED)
def test_a_refusal_says_what_is_wrong(refused: Path, tmp_path: Path, file: str, more: str, words: str) -> None:
    assert words in reason_of(tmp_path, entry("onnx", refused / file, more))


def test_a_wrong_option_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 4: \[it\] options.thread"):
        collection_of(tmp_path, entry("onnx", "c.onnx", "options = { thread = 2 }"))


def test_a_missing_library_is_named_with_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_files.mean_color(tmp_path / "mean.onnx", ["n", 3, 8, 8])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    words = reason_of(tmp_path, entry("onnx", "mean.onnx"))
    assert words == "loader 'onnx' needs onnxruntime; install it: pip install 'rise-serve[onnx]'"
