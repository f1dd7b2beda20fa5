"""The loader `transformers`, with tiny models of random weights that the library itself writes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.models.entries import explain, library, load_entry, photograph, refusal, shown
from tests.workers.models.tiny_transformers import (
    NAMES,
    PROCESSORS,
    conditional_detr,
    convnext,
    detr,
    resnet,
    rt_detr,
    segformer,
    vit,
    yolos,
)
from workers.blackbox import Classifier, Detections, Detector, Segmenter
from workers.blackbox.preprocessing import input_transform, normalise, pixels, to_input
from workers.explainer.targets import probabilities
from workers.model_io.hf_image_processor import read_preprocessing
from workers.model_io.model_entry import ModelEntry

transformers = library("transformers")

ENTRY = 'loader = "transformers"\nsource = "model"'
PHOTOGRAPH = photograph(301, 233)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path


def save(model: Any, processor: Any, folder: Path) -> Any:
    """Write a model with its processor; return it as the library computes with it."""
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return model.eval()


def seeded(make: Any) -> Any:
    torch.manual_seed(1)
    return make()


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_photograph_is_prepared_as_the_library_prepares_it(name: str, folder: Path) -> None:
    """Within 8-bit rounding: 0.01 of a pixel's value on average, 0.05 anywhere."""
    processor = PROCESSORS[name]()
    processor.save_pretrained(folder)
    preprocessing = read_preprocessing(ModelEntry(loader="transformers", source="."), folder)
    ours = normalise(to_input(pixels(PHOTOGRAPH)[None], preprocessing), preprocessing)
    theirs = processor(PHOTOGRAPH, return_tensors="pt")["pixel_values"]
    assert ours.shape == theirs.shape
    apart = ((ours - theirs) * torch.tensor(preprocessing.std).view(3, 1, 1)).abs()
    assert apart.mean() < 0.01
    assert apart.max() < 0.05


@pytest.mark.parametrize(("make", "processor"), [(vit, "vit"), (resnet, "convnext-cut"), (convnext, "clip")])
def test_a_classifier_says_what_the_library_says(make: Any, processor: str, folder: Path) -> None:
    """Probabilities within 0.005: what 8-bit rounding of the resized picture is worth."""
    model = save(seeded(make), PROCESSORS[processor](), folder)
    black_box = load_entry(folder, ENTRY).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.labels == ("cat", "dog", "bird")
    assert black_box.activation == "softmax"
    with torch.inference_mode():
        theirs = model(**PROCESSORS[processor]()(PHOTOGRAPH, return_tensors="pt")).logits.softmax(-1)
        ours = black_box.forward(shown(black_box, PHOTOGRAPH)).softmax(-1)
    assert (ours - theirs).abs().max() < 0.005


def test_a_segmentation_model_says_what_the_library_says(folder: Path) -> None:
    """Probabilities within 0.005, as of classifiers; the map of a class explains its region."""
    model = save(seeded(segformer), PROCESSORS["segformer"](), folder)
    loaded = load_entry(folder, ENTRY)
    black_box = loaded.black_box
    assert isinstance(black_box, Segmenter)
    assert black_box.labels == ("cat", "dog", "bird")
    with torch.inference_mode():
        theirs = model(**PROCESSORS["segformer"]()(PHOTOGRAPH, return_tensors="pt")).logits.softmax(1)
        ours = probabilities(black_box, black_box.forward(shown(black_box, PHOTOGRAPH)))
    assert theirs.shape == ours.shape
    assert (ours - theirs).abs().max() < 0.005
    record = explain(loaded, PHOTOGRAPH, folder, masks=512, until=1)
    assert record.request.method == "rise"
    assert record.targets[0].name in black_box.labels
    assert record.targets[0].box is not None


@pytest.mark.parametrize(
    ("make", "processor", "exclusive"),
    [(detr, "detr", True), (yolos, "yolos", True), (conditional_detr, "detr", False), (rt_detr, "rt-detr", False)],
)
def test_a_detector_proposes_every_query_as_the_library_scores_it(
    make: Any, processor: str, exclusive: bool, folder: Path
) -> None:
    """Scores within 0.005, boxes within half a pixel of the photograph."""
    model = save(seeded(make), PROCESSORS[processor](), folder)
    black_box = load_entry(folder, ENTRY).black_box
    assert isinstance(black_box, Detector)
    with torch.inference_mode():
        raw = model(**PROCESSORS[processor]()(PHOTOGRAPH, return_tensors="pt"))
        ours = black_box.forward(shown(black_box, PHOTOGRAPH))
    scores = raw.logits.softmax(-1)[..., :-1] if exclusive else raw.logits.sigmoid()
    confidence = ours.classes * ours.objectness.unsqueeze(-1)
    assert confidence.shape == (1, raw.pred_boxes.shape[1], 3)
    assert (confidence - scores).abs().max() < 0.005
    height, width = shown(black_box, PHOTOGRAPH).shape[2:]
    centres, extents = raw.pred_boxes.split(2, -1)
    boxes = torch.cat([centres - extents / 2, centres + extents / 2], -1) * torch.tensor([width, height] * 2)
    assert (ours.boxes_xyxy - boxes).abs().max() < 0.5


def test_a_picture_is_explained_with_a_classifier(folder: Path) -> None:
    save(seeded(vit), PROCESSORS["vit"](), folder)
    model = load_entry(folder, ENTRY)
    record = explain(model, PHOTOGRAPH, folder, masks=512, until=1, grid=4)
    assert record.request.method == "rise"
    assert record.targets[0].name in NAMES.values()
    assert record.progress is not None
    assert record.progress.masks == 512


@pytest.mark.parametrize(("make", "processor"), [(yolos, "yolos"), (rt_detr, "rt-detr")])
def test_a_box_is_explained_with_a_detector(make: Any, processor: str, folder: Path) -> None:
    """The box of a query is given, because weights that were never trained are not sure of anything."""
    save(seeded(make), PROCESSORS[processor](), folder)
    model = load_entry(folder, ENTRY)
    assert isinstance(model.black_box, Detector)
    with torch.inference_mode():
        proposed = model.black_box.forward(shown(model.black_box, PHOTOGRAPH))
    lens = input_transform(PHOTOGRAPH.width, PHOTOGRAPH.height, model.black_box.preprocessing)
    box = lens.to_image(proposed.boxes_xyxy[0, proposed.objectness[0].argmax()].tolist())
    record = explain(model, PHOTOGRAPH, folder, masks=256, until=1, grid=4, targets=[{"box": box}])
    assert record.request.method == "drise"
    assert record.targets[0].box == pytest.approx(box)
    assert record.targets[0].error is None


def test_a_model_with_several_labels_a_picture_has_sigmoids(folder: Path) -> None:
    save(seeded(lambda: vit(problem_type="multi_label_classification")), PROCESSORS["vit"](), folder)
    black_box = load_entry(folder, ENTRY).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.activation == "sigmoid"


def test_the_entry_overrules_what_the_files_say(folder: Path) -> None:
    save(seeded(vit), PROCESSORS["vit"](), folder)
    words = 'labels = ["a", "b", "c"]\noutputs = {activation = "sigmoid"}\npreprocessing = {interpolation = "nearest"}'
    black_box = load_entry(folder, f"{ENTRY}\n{words}").black_box
    assert isinstance(black_box, Classifier)
    assert (black_box.labels, black_box.activation) == (("a", "b", "c"), "sigmoid")
    assert black_box.preprocessing.interpolation == "nearest"
    assert black_box.preprocessing.size == (32, 32)


def test_changed_weights_change_the_digest(folder: Path) -> None:
    save(seeded(vit), PROCESSORS["vit"](), folder)
    before = load_entry(folder, ENTRY).digest
    assert load_entry(folder, ENTRY).digest == before
    save(vit(), PROCESSORS["vit"](), folder)
    assert load_entry(folder, ENTRY).digest != before


def test_a_folder_with_nothing_but_a_pickle_is_refused_by_the_name_of_the_pickle(folder: Path) -> None:
    model = save(seeded(vit), PROCESSORS["vit"](), folder)
    (folder / "model" / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "model" / "pytorch_model.bin")
    assert "pytorch_model.bin can hold code and is not read" in refusal(folder, ENTRY)


def test_a_model_without_its_head_is_refused_by_the_name_of_what_is_missing(folder: Path) -> None:
    save(seeded(vit).vit, PROCESSORS["vit"](), folder)
    said = refusal(folder, f'{ENTRY}\ntask = "classification"')
    assert "the weights lack classifier.bias, classifier.weight" in said
    assert "ViTModel; say task" in refusal(folder, ENTRY)


def test_broken_weights_are_refused_by_the_name_of_the_folder(folder: Path) -> None:
    save(seeded(vit), PROCESSORS["vit"](), folder)
    (folder / "model" / "model.safetensors").write_bytes(b"broken")
    assert str(folder / "model") in refusal(folder, ENTRY)


def test_the_wrong_number_of_labels_is_refused(folder: Path) -> None:
    save(seeded(vit), PROCESSORS["vit"](), folder)
    assert "2 names for the model's 3 classes" in refusal(folder, f'{ENTRY}\nlabels = ["a", "b"]')


def test_a_folder_that_is_not_there_is_refused(folder: Path) -> None:
    assert "there is no such folder" in refusal(folder, 'loader = "transformers"\nsource = "./nowhere"')


def test_code_that_lies_beside_the_weights_is_never_run(folder: Path) -> None:
    save(seeded(vit), PROCESSORS["vit"](), folder)
    path = folder / "model" / "config.json"
    config = json.loads(path.read_text()) | {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    path.write_text(json.dumps(config))
    (folder / "model" / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    refusal(folder, ENTRY)
    assert not (folder / "ran").exists()


def test_a_processor_that_cannot_be_followed_is_refused_until_the_entry_says_everything(folder: Path) -> None:
    save(seeded(vit), transformers.PerceiverImageProcessorPil(), folder)
    assert "say size, resize, mean and std in [MODEL.preprocessing]" in refusal(folder, ENTRY)
    said = 'preprocessing = {size = 32, resize = "crop", shortest_side = 36, mean = [0.5], std = [0.5]}'
    assert load_entry(folder, f"{ENTRY}\n{said}").black_box.preprocessing.shortest_side == 36


def test_a_model_without_a_processor_needs_its_size_from_the_entry(folder: Path) -> None:
    save(seeded(vit), PROCESSORS["vit"](), folder)
    (folder / "model" / "preprocessor_config.json").unlink()
    assert "preprocessing.size" in refusal(folder, ENTRY)


def test_a_hub_id_is_found_in_the_cache_where_there_is_no_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is laid out as the library lays it out; the commit becomes part of the digest."""
    from huggingface_hub import constants  # noqa: PLC0415 - comes with transformers

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    entry = 'loader = "transformers"\nsource = "owner/name"'
    assert "nor is it in the cache" in refusal(folder, entry)
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = folder / "cache" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    save(seeded(vit), PROCESSORS["vit"](), folder)
    (repository / "snapshots").mkdir()
    (folder / "model").rename(repository / "snapshots" / commit)
    assert load_entry(folder, entry).black_box.identity == f"owner/name@{commit}"


@pytest.mark.parametrize(("make", "processor"), [(resnet, "convnext-cut"), (yolos, "yolos"), (rt_detr, "rt-detr")])
def test_half_precision_and_another_memory_layout_say_nearly_the_same(make: Any, processor: str, folder: Path) -> None:
    """Within the tolerance that the entry allows, on a picture that the trial at loading did not see."""
    save(seeded(make), PROCESSORS[processor](), folder)
    whole = load_entry(folder, ENTRY).black_box
    half = load_entry(folder, f'{ENTRY}\nprecision = "bfloat16"\ntolerance = 0.05\nchannels_last = true').black_box
    assert half.dtype == torch.bfloat16
    images = shown(whole, PHOTOGRAPH)
    with torch.inference_mode():
        before, after = whole.forward(images), half.forward(images.bfloat16())
    if isinstance(before, Detections):
        assert isinstance(after, Detections)
        assert (after.objectness - before.objectness).abs().max() < 0.1
    else:
        assert isinstance(after, torch.Tensor)
        assert (after.float().softmax(-1) - before.softmax(-1)).abs().max() < 0.05
