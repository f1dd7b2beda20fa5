"""Every line of "Your exporter, and what to write" in docker/MODELS.md, run with what that exporter writes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.models import archives
from tests.workers.models.entries import load_entry
from workers.explainer.targets import probabilities

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("transformers")

from tests.workers.models.exporter_files import (
    Head,
    cell_scores,
    write_classifier,
    write_detector,
    write_segmenter,
)
from tests.workers.models.test_exporter_layouts import (
    ULTRALYTICS,
    check_detections,
    named,
    red_and_blue,
    scores_of,
)
from tests.workers.models.tiny_transformers import PROCESSORS, clip, tokenizer, vit

TEXT = Path("docker/MODELS.md").read_text()
TABLE = TEXT.partition("| your exporter | loader | what to write |\n|---|---|---|\n")[2].partition("\n\n")[0]
ROWS = {row[0]: row[1:] for row in (re.findall(r"\| (.*?) (?=\|)", line) for line in TABLE.splitlines())}

Written = Callable[[Path, str], None]
"""Writes a model into a folder, loads it with the lines of the table, and checks what it says of a picture."""

_YOLO = {"packed": "boxes-scores", "columns_first": True, "box_format": "cxcywh"}
_RF_DETR = {"boxes": "dets", "scores": "labels"}


def detector(head: Head, words: dict[str, str] | None = None) -> Written:
    def check(folder: Path, lines: str) -> None:
        write_detector(folder / "it.onnx", head, words)
        check_detections(load_entry(folder, lines).black_box, head)

    return check


def ultralytics(words: dict[str, str], **head: object) -> Written:
    return detector(Head(2, **head), ULTRALYTICS | words | named(2))  # type: ignore[arg-type]


def classifier(ends: str, activation: Callable[[torch.Tensor], torch.Tensor]) -> Written:
    """Check a classifier, whose probabilities are `activation` of the logits of its cells' largest scores."""

    def check(folder: Path, lines: str) -> None:
        write_classifier(folder / "it.onnx", 2, ends=ends)  # type: ignore[arg-type]
        logits = torch.from_numpy(cell_scores(red_and_blue(), 2).max(0)).double().logit()
        assert scores_of(load_entry(folder, lines).black_box) == pytest.approx(activation(logits).numpy(), abs=1e-3)

    return check


def segmentation(folder: Path, lines: str) -> None:
    write_segmenter(folder / "it.onnx", 2, ends="sigmoid")
    black_box = load_entry(folder, lines).black_box
    found = probabilities(black_box, black_box.forward(torch.from_numpy(red_and_blue())[None]))  # type: ignore[arg-type]
    assert found[0].flatten(1).T.numpy() == pytest.approx(cell_scores(red_and_blue(), 2), abs=1e-4)


class RedAndBlue(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))[:, ::2]


def archive(folder: Path, lines: str) -> None:
    archives.save(archives.exported(RedAndBlue(), torch.rand(2, 3, 128, 128)), folder / "it.onnx")
    logits = torch.from_numpy(red_and_blue()).mean((1, 2))[::2]
    assert scores_of(load_entry(folder, lines).black_box) == pytest.approx(logits.softmax(0).numpy(), abs=1e-4)


def pretrained(make: Callable[[], Any], processor: str, labels: tuple[str, ...]) -> Written:
    def check(folder: Path, lines: str) -> None:
        for part in (make(), PROCESSORS[processor](), tokenizer()):
            part.save_pretrained(folder / "it.onnx")
        assert load_entry(folder, lines).black_box.labels == labels

    return check


WRITTEN: dict[str, Written] = {
    "Ultralytics YOLO, `format=onnx`: detect": ultralytics({}, **_YOLO),
    "Ultralytics YOLO, `format=onnx`: detect with `nms=True`, or end to end": ultralytics(
        {"args": "{'nms': True}"}, packed="boxes-score-label"
    ),
    "Ultralytics YOLO, `format=onnx`: segment": ultralytics({"task": "segment"}, **_YOLO, extra_columns=32),
    "Ultralytics YOLO, `format=onnx`: pose": ultralytics(
        {"task": "pose", "kpt_shape": "[17, 3]"}, **_YOLO, extra_columns=51
    ),
    "Ultralytics RT-DETR, `format=onnx`": ultralytics(
        {"description": "Ultralytics RTDETR-l model"}, packed="boxes-scores", box_format="cxcywh", box_unit="fraction"
    ),
    "RT-DETR, D-FINE or DEIM by their authors (inputs `images`, `orig_target_sizes`)": detector(
        Head(2, labelled=True, side_input="orig_target_sizes")
    ),
    "RF-DETR (outputs `dets`, `labels`)": detector(
        Head(2, raw=True, box_format="cxcywh", box_unit="fraction", names=_RF_DETR)
    ),
    "a detector of torchvision by `torch.onnx.export` (no batch axis)": detector(
        Head(2, labelled=True, batch=1, batch_axis=False)
    ),
    "YOLOv5 and YOLOX (one output: box, objectness, classes)": detector(
        Head(2, packed="boxes-objectness-scores", box_format="cxcywh")
    ),
    "a classifier that ends with softmax or sigmoid": classifier("sigmoid", torch.sigmoid),
    "a classifier that ends with logits of classes that exclude each other": classifier(
        "none", lambda logits: logits.softmax(0)
    ),
    "a classifier that ends with logits of classes that do not": classifier("none", torch.sigmoid),
    "semantic segmentation, `[batch, classes, rows, columns]`": segmentation,
    "a classifier by `torch.export.save`": archive,
    "`save_pretrained` of a classifier, a detector or a segmentation model": pretrained(
        vit, "vit", ("cat", "dog", "bird")
    ),
    "`save_pretrained` of CLIP, SigLIP, OWL-ViT or Grounding DINO": pretrained(
        clip, "clip", ("a photo of a cat", "a dog")
    ),
}


def test_the_table_has_the_lines_that_are_run_here() -> None:
    assert set(ROWS) == set(WRITTEN)


@pytest.mark.parametrize("exporter", WRITTEN)
def test_what_the_table_says_is_enough(exporter: str, tmp_path: Path) -> None:
    loader, lines = ROWS[exporter]
    (tmp_path / "names.txt").write_text("red\nblue\n")
    written = "" if lines == "nothing" else "\n".join(re.findall(r"`(.*?)`", lines))
    WRITTEN[exporter](tmp_path, f'loader = "{loader.strip("`")}"\nsource = "it.onnx"\n{written}')
