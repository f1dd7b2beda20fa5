"""`imagenet`, the network for photographs that ships as an extra: what it sees, and where its maps have their peaks."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.contract.settings import Settings
from tests.workers.models.entries import explain, library, shown
from tests.workers.models.explaining import first_map
from workers.blackbox import Classifier
from workers.registry.model_registry import LoadedModel, ModelRegistry
from workers.registry.models_file import read_models_file

library("efficientnet_lite_pytorch")
data = library("skimage.data")

DEMO = Path("workers/demo/models.toml")
SEEN = {"chelsea": "tiger cat", "coffee": "espresso", "rocket": "missile"}
PARTS = {"chelsea": (100, 20, 330, 260), "coffee": (130, 40, 480, 330)}  # face and cup, in pixels


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedModel]:
    """The model as a worker loads it, alone."""
    folder = tmp_path_factory.mktemp("imagenet")
    entry = DEMO.read_text().partition("[imagenet]")[2]
    (folder / "models.toml").write_text(f"[imagenet]{entry}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RISE_DATA", str(folder / "data"))
        models = ModelRegistry(folder / "models.toml", torch.device("cpu"))
        models.load_all()
        yield models.get("imagenet")


def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(data, name)())


def test_it_has_a_thousand_named_classes_of_which_no_two_are_called_the_same(imagenet: LoadedModel) -> None:
    assert len(set(imagenet.black_box.labels)) == 1000
    assert imagenet.task == "classification"


@pytest.mark.parametrize("name", SEEN)
def test_it_sees_what_a_photograph_shows(name: str, imagenet: LoadedModel) -> None:
    assert isinstance(imagenet.black_box, Classifier)
    best = imagenet.black_box.forward(shown(imagenet.black_box, photograph(name))).argmax()
    assert imagenet.black_box.labels[int(best)] == SEEN[name]


@pytest.mark.parametrize("name", PARTS)
def test_the_peak_of_a_map_lies_on_what_is_seen(name: str, imagenet: LoadedModel, tmp_path: Path) -> None:
    image = photograph(name)
    record = explain(imagenet, image, tmp_path, masks=256, until=1)
    peak = np.unravel_index(np.argmax(first_map(record, tmp_path)), (image.height, image.width))
    x0, y0, x1, y1 = PARTS[name]
    assert x0 <= peak[1] <= x1
    assert y0 <= peak[0] <= y1


def test_the_graph_says_what_the_network_says(imagenet: LoadedModel) -> None:
    demo = import_module("workers.demo.imagenet")
    assert isinstance(imagenet.black_box, Classifier)
    images = shown(imagenet.black_box, photograph("chelsea")).repeat(3, 1, 1, 1)
    theirs = demo._as_module(demo._trained(imagenet.black_box.files[0]))
    assert theirs.labels == imagenet.black_box.labels
    assert theirs.preprocessing == imagenet.black_box.preprocessing
    assert torch.allclose(imagenet.black_box.forward(images), theirs.forward(images), atol=1e-3)


@pytest.mark.usefixtures("imagenet")
def test_the_graph_is_written_once() -> None:
    folder = Settings().data / "models"
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [path.suffix for path in files] == [".onnx"]
    import_module("workers.demo.imagenet").load(torch.device("cpu"))
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files


def test_an_entry_is_left_out_with_a_sentence_where_what_it_needs_is_not_installed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "models.toml"
    path.write_text(DEMO.read_text().replace('needs = ["efficientnet_lite_pytorch"', 'needs = ["not_installed"'))
    entries = read_models_file(path)
    assert "imagenet" not in entries
    assert "shapes" in entries
    assert "[imagenet] is left out, because there is no module not_installed" in caplog.text
