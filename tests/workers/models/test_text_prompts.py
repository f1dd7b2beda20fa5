"""Models that are asked in words, through the loader `transformers`: what they say is what the library says."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.workers.models.entries import explain, library, load_entry, photograph, refusal, shown
from tests.workers.models.test_transformers import save as save_model
from tests.workers.models.test_transformers import seeded
from tests.workers.models.tiny_transformers import (
    PROCESSORS,
    clip,
    grounding_dino,
    owl_vit,
    siglip,
    tokenizer,
    vit,
)
from workers.blackbox import Classifier, Detector

transformers = library("transformers")

PROMPTS = ["a photo of a cat", "dog", "a small bird"]
ENTRY = f'loader = "transformers"\nsource = "model"\noptions = {{prompts = {PROMPTS}}}'
PHOTOGRAPH = photograph(301, 233)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    return tmp_path


def save(make: Any, processor: str, folder: Path) -> Any:
    """Write a model with its processor and tokenizer; return it as the library computes with it."""
    tokenizer().save_pretrained(folder / "model")
    return save_model(seeded(make), PROCESSORS[processor](), folder)


def tokens(padding: Any = True) -> Any:
    return tokenizer()(PROMPTS, padding=padding, return_tensors="pt")


@pytest.mark.parametrize(
    ("make", "processor", "padding", "activation"),
    [(clip, "clip", True, "softmax"), (siglip, "vit", "max_length", "sigmoid")],
)
def test_a_classifier_of_prompts_says_what_the_library_says(
    make: Any, processor: str, padding: Any, activation: str, folder: Path
) -> None:
    model = save(make, processor, folder)
    black_box = load_entry(folder, ENTRY).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.labels == tuple(PROMPTS)
    assert black_box.activation == activation
    images = shown(black_box, PHOTOGRAPH).repeat(3, 1, 1, 1)
    with torch.inference_mode():
        theirs = model(pixel_values=images, **tokens(padding)).logits_per_image
        for count in (3, 1, 3):
            assert torch.allclose(black_box.forward(images[:count]), theirs[:count], atol=1e-5)


def test_a_detector_of_prompts_says_what_the_library_says(folder: Path) -> None:
    model = save(owl_vit, "owl-vit", folder)
    black_box = load_entry(folder, ENTRY).black_box
    assert isinstance(black_box, Detector)
    images = shown(black_box, PHOTOGRAPH).repeat(2, 1, 1, 1)
    texts = {name: value.repeat(2, 1) for name, value in tokens().items() if name != "token_type_ids"}
    with torch.inference_mode():
        theirs, ours = model(pixel_values=images, **texts), black_box.forward(images)
    confidence = ours.classes * ours.objectness.unsqueeze(-1)
    assert torch.allclose(confidence, theirs.logits.sigmoid(), atol=1e-5)
    centres, extents = theirs.pred_boxes.split(2, -1)
    assert torch.allclose(
        ours.boxes_xyxy, torch.cat([centres - extents / 2, centres + extents / 2], -1) * 96, atol=1e-3
    )


def test_a_detector_of_phrases_scores_each_prompt_as_its_best_token(folder: Path) -> None:
    """As the library's own post-processing, which gives a box the score of its best token."""
    model = save(grounding_dino, "detr", folder)
    black_box = load_entry(folder, ENTRY).black_box
    assert isinstance(black_box, Detector)
    images = shown(black_box, PHOTOGRAPH).repeat(2, 1, 1, 1)
    text = tokenizer()(["a photo of a cat. dog. a small bird."] * 2, return_tensors="pt")
    with torch.inference_mode():
        theirs, ours = model(pixel_values=images, **text).logits.sigmoid(), black_box.forward(images)
    confidence = ours.classes * ours.objectness.unsqueeze(-1)
    best = torch.stack([theirs[..., 1:6].amax(-1), theirs[..., 7], theirs[..., 9:12].amax(-1)], -1)
    assert torch.allclose(confidence, best, atol=1e-5)


def test_texts_are_encoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(clip, "clip", folder)
    encoder = transformers.models.clip.modeling_clip.CLIPTextModel
    calls, forward = [], encoder.forward

    def counted(self: Any, *arguments: Any, **named: Any) -> Any:
        calls.append(1)
        return forward(self, *arguments, **named)

    monkeypatch.setattr(encoder, "forward", counted)
    black_box = load_entry(folder, ENTRY).black_box
    images = shown(black_box, PHOTOGRAPH)
    for count in (1, 4, 2, 1):
        black_box.forward(images.repeat(count, 1, 1, 1))
    assert len(calls) == 1


def test_an_untrained_copy_reads_its_texts_anew(folder: Path) -> None:
    save(clip, "clip", folder)
    black_box = load_entry(folder, ENTRY).black_box
    assert isinstance(black_box, Classifier)
    assert black_box.randomised is not None
    images = shown(black_box, PHOTOGRAPH)
    before = black_box.forward(images)
    assert not torch.allclose(black_box.randomised(1).forward(images), before)
    assert torch.equal(black_box.forward(images), before)


@pytest.mark.parametrize(("make", "processor"), [(clip, "clip"), (owl_vit, "owl-vit")])
def test_half_precision_is_within_the_tolerance(make: Any, processor: str, folder: Path) -> None:
    save(make, processor, folder)
    half = load_entry(folder, f'{ENTRY}\nprecision = "bfloat16"\ntolerance = 0.05').black_box
    half.forward(shown(half, PHOTOGRAPH).bfloat16())


def test_a_photograph_is_explained_by_what_it_shows_of_a_prompt(folder: Path) -> None:
    save(clip, "clip", folder)
    record = explain(
        load_entry(folder, ENTRY), PHOTOGRAPH, folder, masks=256, until=1, grid=4, targets=[{"label": "dog"}]
    )
    assert record.targets[0].name == "dog"
    assert record.targets[0].error is None


def test_prompts_and_their_activation_are_told(folder: Path) -> None:
    save(siglip, "vit", folder)
    named = ENTRY.replace("options", 'labels = ["cat", "dog", "bird"]\noptions')
    black_box = load_entry(folder, named).black_box
    assert black_box.labels == ("cat", "dog", "bird")
    told = {item.what: (item.value, item.source) for item in black_box.assumptions}
    assert told["outputs.activation"] == ("sigmoid", "file")
    assert told["task"] == ("classification", "file")
    assert told["labels"] == ("3 names", "entry")
    assert told["preprocessing.mean"][1] == "file"


def test_a_model_that_is_asked_in_words_needs_them(folder: Path) -> None:
    save(clip, "clip", folder)
    assert "write a text for each class: prompts = [" in refusal(folder, 'loader = "transformers"\nsource = "model"')


def test_a_model_with_classes_of_its_own_takes_no_prompts(folder: Path) -> None:
    save(vit, "vit", folder)
    assert "options.prompts: vit has fixed classes" in refusal(folder, ENTRY)


def test_softmax_over_one_prompt_is_refused(folder: Path) -> None:
    save(clip, "clip", folder)
    one = 'loader = "transformers"\nsource = "model"\noptions = {prompts = ["dog"]}'
    assert "softmax over one class is always 1" in refusal(folder, one)
    black_box = load_entry(folder, f'{one}\noutputs = {{activation = "sigmoid"}}').black_box
    assert black_box.labels == ("dog",)


def test_a_prompt_that_is_too_long_is_refused(folder: Path) -> None:
    save(clip, "clip", folder)
    assert "the model reads at most 16" in refusal(folder, ENTRY.replace("dog", "dog " * 30))


def test_prompts_that_end_a_phrase_are_refused(folder: Path) -> None:
    save(grounding_dino, "detr", folder)
    assert "write no . or ? in them" in refusal(folder, ENTRY.replace("'dog'", "'dog. cat'"))


def test_a_missing_tokenizer_is_named(folder: Path) -> None:
    save(clip, "clip", folder)
    for file in (folder / "model").glob("*token*"):
        file.unlink()
    assert "the tokenizer of" in refusal(folder, ENTRY)
