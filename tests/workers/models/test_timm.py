"""The loader `timm`, with models of random weights."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.workers.models.entries import explain, library, load_entry, photograph, refusal, shown
from workers.blackbox import Classifier

timm = library("timm")
data = library("timm.data")

PHOTOGRAPH = photograph(301, 233)
FOLDER = 'loader = "timm"\nsource = "model"'
FILE = """
loader = "timm"
source = "test_resnet"
labels = ["cat", "dog", "bird"]
options = {weights = "it.safetensors"}
"""


def network(name: str = "test_resnet") -> Any:
    torch.manual_seed(1)
    return timm.create_model(name, num_classes=3).eval()


def save_as_folder(model: Any, path: Path, **changes: Any) -> None:
    """Write a model as the hub holds it."""
    path.mkdir()
    save_file(model.state_dict(), path / "model.safetensors")
    fields = ("mean", "std", "interpolation", "crop_pct", "crop_mode", "input_size", "classifier", "first_conv")
    config = {key: model.pretrained_cfg[key] for key in fields if key in model.pretrained_cfg} | changes
    names = {"num_classes": 3, "label_names": ["cat", "dog", "bird"]}
    architecture = {"architecture": model.pretrained_cfg["architecture"], "num_features": model.num_features}
    (path / "config.json").write_text(json.dumps({**architecture, **names, "pretrained_cfg": config}))


@pytest.mark.parametrize(
    "changes",
    [
        {"crop_pct": 0.875, "interpolation": "bicubic"},
        {"crop_pct": 1.0, "interpolation": "bilinear"},
        {"crop_pct": 0.8, "crop_mode": "squash", "interpolation": "bilinear"},
    ],
)
def test_a_photograph_is_prepared_as_timm_prepares_it(changes: dict[str, Any], tmp_path: Path) -> None:
    """Within 0.03 of a pixel's value on average: the centre may lie one pixel beside timm's, which rounds to even."""
    save_as_folder(network(), tmp_path / "model", input_size=[3, 160, 160], **changes)
    black_box = load_entry(tmp_path, FOLDER).black_box
    config = data.resolve_data_config(pretrained_cfg={"input_size": (3, 160, 160), **changes})
    config |= {"mean": black_box.preprocessing.mean, "std": black_box.preprocessing.std}
    theirs = data.create_transform(**config)(PHOTOGRAPH)[None]
    ours = shown(black_box, PHOTOGRAPH)
    assert ours.shape == theirs.shape
    std = torch.tensor(black_box.preprocessing.std).view(3, 1, 1)
    assert ((ours - theirs) * std).abs().mean() < 0.03


def test_a_folder_brings_labels_preprocessing_and_weights(tmp_path: Path) -> None:
    model = network()
    save_as_folder(model, tmp_path / "model")
    black_box = load_entry(tmp_path, FOLDER).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.labels == ("cat", "dog", "bird")
    assert {file.name for file in black_box.files} == {"config.json", "model.safetensors"}
    images = shown(black_box, PHOTOGRAPH)
    with torch.inference_mode():
        assert torch.allclose(black_box.forward(images), model(images), atol=1e-5)


def test_a_file_of_weights_belongs_to_an_architecture_by_name(tmp_path: Path) -> None:
    model = network()
    save_file(model.state_dict(), tmp_path / "it.safetensors")
    loaded = load_entry(tmp_path, FILE)
    assert isinstance(loaded.black_box, Classifier)
    images = shown(loaded.black_box, PHOTOGRAPH)
    with torch.inference_mode():
        assert torch.allclose(loaded.black_box.forward(images), model(images), atol=1e-5)
    record = explain(loaded, PHOTOGRAPH, tmp_path, masks=128, until=1, grid=4)
    assert record.targets[0].name in {"cat", "dog", "bird"}


def test_a_name_stands_for_its_weights_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are looked for in the cache, which is laid out as the hub's library lays it out."""
    from huggingface_hub import constants  # noqa: PLC0415 - comes with timm

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    save_as_folder(network(), repository / "snapshots" / commit)
    for source in ("test_resnet", "test_resnet.r160_in1k", "hf_hub:timm/test_resnet.r160_in1k"):
        black_box = load_entry(tmp_path, f'loader = "timm"\nsource = "{source}"').black_box
        assert black_box.identity == f"timm/test_resnet.r160_in1k@{commit}"
    assert "nor is it in the cache" in refusal(tmp_path, 'loader = "timm"\nsource = "hf_hub:nobody/nothing"')


class Code:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_weights_that_hold_code_are_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"fc": Code(tmp_path / "ran")}, tmp_path / "it.pth")
    assert "it.pth" in refusal(tmp_path, FILE.replace("it.safetensors", "it.pth"))
    save_as_folder(network(), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save({"fc": Code(tmp_path / "ran")}, tmp_path / "model" / "pytorch_model.bin")
    assert "pytorch_model.bin can hold code and is not read" in refusal(tmp_path, FOLDER)
    assert not (tmp_path / "ran").exists()


def test_a_model_that_does_not_exist_is_refused_with_those_that_sound_like_it(tmp_path: Path) -> None:
    assert "resnet18" in refusal(tmp_path, 'loader = "timm"\nsource = "resnett18"')


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    save_file(network("test_vit").state_dict(), tmp_path / "it.safetensors")
    assert "it.safetensors" in refusal(tmp_path, FILE)
    save_as_folder(network(), tmp_path / "model")
    save_file(network("test_vit").state_dict(), tmp_path / "model" / "model.safetensors")
    assert str(tmp_path / "model") in refusal(tmp_path, FOLDER)


def test_a_crop_mode_that_cannot_be_followed_is_refused_until_the_entry_says_it(tmp_path: Path) -> None:
    save_as_folder(network(), tmp_path / "model", crop_mode="border")
    assert "crop mode 'border'" in refusal(tmp_path, FOLDER)
    black_box = load_entry(tmp_path, f'{FOLDER}\npreprocessing = {{resize = "letterbox"}}').black_box
    assert black_box.preprocessing.resize == "letterbox"


def test_a_detector_is_not_to_be_had(tmp_path: Path) -> None:
    assert "models of timm are classifiers" in refusal(tmp_path, f'{FILE}task = "detection"')
