"""`rise-serve check` says what a model sees in photographs, and what looks wrong with it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import SAMPLES

pytest.importorskip("onnx")

from tests.workers.models.exporter_files import Head, write_classifier, write_detector, write_segmenter

PHOTOS = [str(SAMPLES / "star.jpg"), str(SAMPLES / "several.jpg")]


def checked(folder: Path, entry: str) -> tuple[int, Any]:
    """Return the exit code of a check with two photographs, and what it printed."""
    (folder / "models.toml").write_text(f"[it]\n{entry}")
    command = [str(Path(sys.executable).with_name("rise-serve")), "check", "it", *PHOTOS, "--json", "--out", "it.png"]
    environment = {**os.environ, "RISE_MODELS": "models.toml", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_nothing_is_wrong_with_a_model_that_ships(tmp_path: Path) -> None:
    code, found = checked(tmp_path, 'loader = "python"\nsource = "workers.demo.shapes:load"\n')
    assert code == 0, found
    assert [photo["predictions"][0]["name"] for photo in found["photos"]] == ["star", "star"]
    with Image.open(tmp_path / "it.png") as picture:
        assert picture.width > 3 * 400


@pytest.mark.slow
def test_a_deviation_given_for_bytes_makes_every_picture_nearly_black(tmp_path: Path) -> None:
    write_classifier(tmp_path / "it.onnx", 5, ends="softmax")
    code, found = checked(tmp_path, 'loader = "onnx"\nsource = "it.onnx"\npreprocessing = { std = [255.0] }\n')
    assert code == 1
    assert all("nearly black" in photo["warnings"][0] for photo in found["photos"])
    assert any("no names" in words for words in found["warnings"])
    assert {one["what"]: one["from"] for one in found["model"]["assumptions"]}["preprocessing.std"] == "entry"


def test_a_photograph_without_detections_is_told(tmp_path: Path) -> None:
    write_detector(tmp_path / "it.onnx", Head(2))
    entry = (
        'loader = "onnx"\nsource = "it.onnx"\nlabels = ["red", "blue"]\npreprocessing = { mean = [1.5, -1.5, 1.5] }\n'
    )
    code, found = checked(tmp_path, entry)
    assert code == 1
    assert all("nothing is detected" in photo["warnings"][0] for photo in found["photos"])


def test_a_model_that_does_not_load_is_told_with_the_line_to_write(tmp_path: Path) -> None:
    write_classifier(tmp_path / "it.onnx", 1, ends="none")
    code, found = checked(tmp_path, 'loader = "onnx"\nsource = "it.onnx"\noutputs = { activation = "softmax" }\n')
    assert code == 2
    assert 'write activation = "sigmoid"' in found


@pytest.mark.slow
def test_a_segmentation_model_in_which_no_class_stands_out_is_told(tmp_path: Path) -> None:
    write_segmenter(tmp_path / "it.onnx", 3, ends="none")
    entry = (
        'loader = "onnx"\nsource = "it.onnx"\nlabels = ["a", "b", "c"]\n'
        'preprocessing = { mean = [0.5], std = [1000.0] }\noutputs = { activation = "softmax" }\n'
    )
    code, found = checked(tmp_path, entry)
    assert code == 1
    assert any("no class stands out" in words for photo in found["photos"] for words in photo["warnings"])
