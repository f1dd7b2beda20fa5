"""The loader `torchvision`, with models of random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.workers.models.entries import explain, library, load_entry, photograph, refusal, shown
from workers.blackbox import Classifier, Detector
from workers.blackbox.preprocessing import input_transform

models = library("torchvision.models")

PHOTOGRAPH = photograph(301, 233)
CLASSIFIER = """
loader = "torchvision"
source = "squeezenet1_1"
"""
FILE = f"""{CLASSIFIER}
labels = ["cat", "dog", "bird"]
options = {{weights = "it.safetensors", transforms = "IMAGENET1K_V1"}}
"""
SMALL = {"min_size": 128, "max_size": 192}
DETECTORS: dict[str, dict[str, int]] = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": SMALL,
    "retinanet_resnet50_fpn": SMALL,
    "fcos_resnet50_fpn": SMALL,
    "ssdlite320_mobilenet_v3_large": {},
}


def classifier(folder: Path) -> Any:
    """Write the weights of a classifier with three classes; return it as the library computes with it."""
    torch.manual_seed(1)
    model = models.squeezenet1_1(num_classes=3)
    save_file(model.state_dict(), folder / "it.safetensors")
    return model.eval()


def detector(name: str, folder: Path) -> Any:
    """Write the weights of a detector of two classes that is sure of many things; return it."""
    torch.manual_seed(1)
    model = models.get_model(name, weights=None, weights_backbone=None, num_classes=3, **DETECTORS[name])
    for part, weight in model.named_parameters():
        if part.endswith(("cls_logits.weight", "cls_score.weight")):
            torch.nn.init.normal_(weight, std=0.1)
        if part.endswith("cls_logits.bias"):
            torch.nn.init.zeros_(weight)
    save_file(model.state_dict(), folder / "it.safetensors")
    return model.eval()


def detector_entry(name: str) -> str:
    arguments = ", ".join(f"{key} = {value}" for key, value in DETECTORS[name].items())
    options = f'{{weights = "it.safetensors", arguments = {{{arguments}}}}}'
    return f'loader = "torchvision"\nsource = "{name}"\nlabels = ["cat", "dog"]\noptions = {options}'


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    """Stand a folder in for the cache of torch's own weights."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def test_a_classifier_from_a_file_says_what_the_library_says(tmp_path: Path) -> None:
    """Probabilities within 0.005: what 8-bit rounding of the resized picture is worth."""
    model = classifier(tmp_path)
    black_box = load_entry(tmp_path, FILE).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.labels == ("cat", "dog", "bird")
    theirs = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.transforms()(PHOTOGRAPH)[None]
    ours = shown(black_box, PHOTOGRAPH)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().mean() < 0.02
    with torch.inference_mode():
        assert (black_box.forward(ours).softmax(-1) - model(theirs).softmax(-1)).abs().max() < 0.005


def test_weights_by_name_bring_transforms_and_categories(cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = models.squeezenet1_1()
    torch.save(model.state_dict(), cache / "squeezenet1_1-b8a52dc0.pth")
    black_box = load_entry(tmp_path, CLASSIFIER).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.labels[:2] == ("tench", "goldfish")
    assert len(set(black_box.labels)) == 1000
    assert black_box.preprocessing.size == (224, 224)
    assert black_box.preprocessing.shortest_side == 256
    assert black_box.files == (cache / "squeezenet1_1-b8a52dc0.pth",)
    with torch.inference_mode():
        images = shown(black_box, PHOTOGRAPH)
        assert torch.allclose(black_box.forward(images), model.eval()(images), atol=1e-5)


class Code:
    """What runs when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("entry", [CLASSIFIER, FILE.replace("it.safetensors", "hub/checkpoints/it.pth")])
def test_weights_that_hold_code_are_refused_and_not_run(entry: str, cache: Path, tmp_path: Path) -> None:
    for name in ("squeezenet1_1-b8a52dc0.pth", "it.pth"):
        torch.save({"classifier": Code(tmp_path / "ran")}, cache / name)
    assert ".pth" in refusal(tmp_path, entry)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", DETECTORS)
def test_all_that_the_library_detects_is_among_the_proposals(name: str, tmp_path: Path) -> None:
    """Its own detections on the same pixels, the five strongest: each has a proposal with its box and its score."""
    model = detector(name, tmp_path)
    black_box = load_entry(tmp_path, detector_entry(name)).black_box
    assert isinstance(black_box, Detector)
    images = shown(black_box, PHOTOGRAPH)
    mean, std = (torch.tensor(getattr(black_box.preprocessing, part)).view(3, 1, 1) for part in ("mean", "std"))
    with torch.inference_mode():
        theirs = model(list(images * std + mean))[0]
        ours = black_box.forward(images)
    assert len(theirs["boxes"]) > 5
    confidence = (ours.classes * ours.objectness.unsqueeze(-1))[0]
    named = (theirs["labels"] > 0).nonzero().flatten()[:5]  # because untrained sigmoids find "no object" too
    for box, label, score in zip(*(theirs[key][named] for key in ("boxes", "labels", "scores")), strict=True):
        same_place = (ours.boxes_xyxy[0] - box).abs().amax(-1) < 0.1
        same_score = (confidence[:, label - 1] - score).abs() < 1e-3
        assert (same_place & same_score).any()
    assert ours.boxes_xyxy.shape[1] > len(theirs["boxes"])


@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_320_fpn", "ssdlite320_mobilenet_v3_large"])
def test_a_box_is_explained_with_a_detector(name: str, tmp_path: Path) -> None:
    """The box of a proposal is given, because weights that were never trained are not sure of anything."""
    detector(name, tmp_path)
    model = load_entry(tmp_path, detector_entry(name))
    assert isinstance(model.black_box, Detector)
    with torch.inference_mode():
        proposed = model.black_box.forward(shown(model.black_box, PHOTOGRAPH))
    lens = input_transform(PHOTOGRAPH.width, PHOTOGRAPH.height, model.black_box.preprocessing)
    box = lens.to_image(proposed.boxes_xyxy[0, proposed.objectness[0].argmax()].tolist())
    record = explain(model, PHOTOGRAPH, tmp_path, masks=64, until=1, grid=4, targets=[{"box": box}])
    assert record.targets[0].error is None
    assert record.targets[0].box == pytest.approx(box)


def test_a_picture_is_explained_with_a_classifier(tmp_path: Path) -> None:
    classifier(tmp_path)
    record = explain(load_entry(tmp_path, FILE), PHOTOGRAPH, tmp_path, masks=128, until=1, grid=4)
    assert record.targets[0].name in {"cat", "dog", "bird"}


def test_pictures_with_fewer_regions_are_filled_up_with_nothing(tmp_path: Path) -> None:
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    detector(name, tmp_path)
    black_box = load_entry(tmp_path, detector_entry(name)).black_box
    assert isinstance(black_box, Detector)
    picture = shown(black_box, PHOTOGRAPH)
    with torch.inference_mode():
        found = black_box.forward(torch.cat([picture, torch.zeros_like(picture)]))
        alone = black_box.forward(picture)
    filled = (found.boxes_xyxy == 0).all(-1)
    assert (found.objectness[filled] == 0).all()
    assert int((~filled[0]).sum()) == alone.boxes_xyxy.shape[1]


def test_a_builder_that_does_not_exist_is_refused_with_those_that_sound_like_it(tmp_path: Path) -> None:
    assert "squeezenet1_1" in refusal(tmp_path, CLASSIFIER.replace("squeezenet1_1", "squeezenet11"))
    assert "no such classifier or detector" in refusal(tmp_path, CLASSIFIER.replace("squeezenet1_1", "fcn_resnet50"))


def test_weights_that_do_not_exist_are_refused_with_those_that_do(tmp_path: Path) -> None:
    said = refusal(tmp_path, f'{CLASSIFIER}options = {{weights = "IMAGENET22K"}}')
    assert "choose from: IMAGENET1K_V1" in said


def test_weights_of_another_model_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"strange": torch.zeros(1)}, tmp_path / "it.safetensors")
    said = refusal(tmp_path, FILE)
    assert "it.safetensors" in said
    assert "has unknown strange" in said


def test_a_file_without_transforms_needs_its_preprocessing_from_the_entry(tmp_path: Path) -> None:
    classifier(tmp_path)
    assert "preprocessing.size" in refusal(tmp_path, FILE.replace(', transforms = "IMAGENET1K_V1"', ""))
