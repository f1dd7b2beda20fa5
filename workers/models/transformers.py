"""Loader `transformers`: `source` is a folder that `save_pretrained` wrote, or an id of the Hugging Face hub.

Task, labels and preprocessing come from the files that lie beside the weights, which are SafeTensors or not read at
all. Every query of a detector is a proposal: nothing is dropped or suppressed.

[vit]
loader = "transformers"
source = "google/vit-base-patch16-224"

A model without fixed classes (CLIP, SigLIP, OWL-ViT, Grounding DINO) is asked in words; each text is a class.

[wolves]
loader = "transformers"
source = "openai/clip-vit-base-patch32"
labels = ["wolf", "husky"]
options = {prompts = ["a photo of a wolf", "a photo of a husky"]}
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from app.contract.schemas import RequestModel, Task
from workers.blackbox import Activation, BlackBox, Classifier, Detections, Detector, Segmenter
from workers.loading.assumptions import assumptions_of
from workers.loading.labels import labels_of
from workers.loading.text_prompts import ask, prompted_task
from workers.loading.torch_module import Forward, prepare_module
from workers.model_io.hf_image_processor import read_preprocessing
from workers.model_io.hub import ModelSource, find_source, first_line
from workers.model_io.model_entry import ModelEntry, OutputsEntry
from workers.model_io.outputs import DetectorLayout, class_maps, class_scores, detections

_HEADS: dict[str, Task] = {
    "ForImageClassification": "classification",
    "ForObjectDetection": "detection",
    "ForSemanticSegmentation": "segmentation",
}
_HEADS_IN_WORDS: dict[Task, str] = {
    "classification": "ForZeroShotImageClassification",
    "detection": "ForZeroShotObjectDetection",
}
_LOADING = Lock()  # because transformers replaces functions of torch while it loads: two at once restore the wrong ones
_EXCLUSIVE = {"detr", "yolos", "table-transformer"}  # model types whose classes exclude each other, "no object" last


class TransformersOptions(RequestModel):
    """What `[MODEL.options]` may say for this loader."""

    revision: str | None = Field(None, description="Branch, tag or commit of a hub id.")
    prompts: list[str] = Field(
        default_factory=list, description="A text for each class, for a model that is asked in words."
    )


OPTIONS: type[RequestModel] = TransformersOptions


def load(entry: ModelEntry, options: TransformersOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Load a model with a head for classification, detection or semantic segmentation, or one that is asked in words.

    Raises:
        ValueError: if the source is not there, holds no SafeTensors, has another task, lacks weights of the model, or
            is to be asked in words and is not, or the other way round.
        ModuleNotFoundError: if transformers is not installed.
    """
    source = find_source(entry.source, folder=folder, revision=options.revision)
    config = _config(source)
    in_words = prompted_task(config)
    _check_prompts(in_words, options.prompts, config)
    task = in_words or entry.task or _task(config, source)
    names = options.prompts or [str(config.id2label[index]) for index in range(config.num_labels)]
    labels = labels_of(entry, folder=folder, found=names, count=len(names))
    completed = _completed(entry, task, config, count=len(labels))
    preprocessing = read_preprocessing(entry, source.folder)
    carried = {"labels": labels, "preprocessing": preprocessing, "files": source.files, "identity": source.identity}
    make = {"classification": _classifier, "detection": _detector, "segmentation": _segmenter}[task](completed, carried)
    model = _model(_HEADS_IN_WORDS[task] if in_words else _head(task), source, config)
    if in_words:
        model = ask(model, config, source.folder, options.prompts)
    black_box = prepare_module(model, entry, device, make)
    return replace(black_box, assumptions=assumptions_of(entry, completed, black_box))


def _config(source: ModelSource) -> Any:
    from transformers import AutoConfig  # noqa: PLC0415 - an optional library

    try:
        return AutoConfig.from_pretrained(source.folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as cause:
        raise ValueError(f"{source.folder}: {first_line(cause)}") from cause


def _task(config: Any, source: ModelSource) -> Task:
    """Return the task that the model's class was made for."""
    for architecture in config.architectures or ():
        for head, task in _HEADS.items():
            if head in architecture:
                return task
    found = ", ".join(config.architectures or ()) or "nothing"
    raise ValueError(f"{source.folder}: config.json says {found}; say task if it is {' or '.join(_HEADS)} all the same")


def _head(task: Task) -> str:
    return next(head for head, its_task in _HEADS.items() if its_task == task)


def _check_prompts(in_words: Task | None, prompts: list[str], config: Any) -> None:
    if in_words and not prompts:
        raise ValueError(
            f"options.prompts: {config.model_type} has no classes, it is asked in words; write a text for each class: "
            'prompts = ["a photo of a wolf", "a photo of a husky"]'
        )
    if prompts and not in_words:
        raise ValueError(f"options.prompts: {config.model_type} has fixed classes and reads no texts; leave them out")


def _model(head: str, source: ModelSource, config: Any) -> nn.Module:
    """Return the model with all its weights, from SafeTensors and nothing else."""
    import transformers  # noqa: PLC0415 - an optional library

    kind = getattr(transformers, f"AutoModel{head}")
    try:
        with _LOADING:
            model, report = kind.from_pretrained(
                source.folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as cause:
        raise ValueError(f"{source.folder}: {first_line(cause)}") from cause
    _check_complete(report, source)
    module: nn.Module = model
    return module


def _check_complete(report: Mapping[str, Any], source: ModelSource) -> None:
    """Refuse a model part of which would be random: transformers fills in what the files lack."""
    missing = sorted(report["missing_keys"])
    if missing:
        names = ", ".join(missing[:3]) + (" and more" if len(missing) > 3 else "")
        raise ValueError(f"{source.folder}: the weights lack {names}; is it a model without its head?")


def _completed(entry: ModelEntry, task: Task, config: Any, *, count: int) -> ModelEntry:
    """Return the entry with its task, and with what the outputs mean by the kind of the model.

    Raises:
        ValueError: for softmax over one class.
    """
    found = _outputs_of_detector(config) if task == "detection" else OutputsEntry(activation=_activation(config))
    outputs = found.model_copy(update=entry.outputs.model_dump(exclude_none=True))
    if outputs.activation == "softmax" and count == 1 and task != "detection":
        raise ValueError("outputs.activation: softmax over one class is always 1; write a second class, or sigmoid")
    return entry.model_copy(update={"task": task, "outputs": outputs})


def _activation(config: Any) -> Activation:
    """Return how scores of classes become probabilities, in a model for classification or segmentation."""
    if config.model_type.startswith("siglip"):
        return "sigmoid"
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "sigmoid" if several else "softmax"


def _outputs_of_detector(config: Any) -> OutputsEntry:
    exclusive = config.model_type in _EXCLUSIVE
    return OutputsEntry(
        activation="softmax" if exclusive else "sigmoid",
        background="last" if exclusive else "none",
        scores="logits",
        boxes="pred_boxes",
        box_format="cxcywh",
        box_unit="fraction",
    )


def _classifier(entry: ModelEntry, carried: dict[str, Any]) -> Callable[[Forward], BlackBox]:
    """Return the function from a module to a classifier."""

    def make(forward: Forward) -> BlackBox:
        def scores(images: Tensor) -> Tensor:
            return class_scores(_tensors(forward(images)), entry.outputs)

        return Classifier(forward=scores, activation=entry.outputs.activation or "softmax", **carried)

    return make


def _segmenter(entry: ModelEntry, carried: dict[str, Any]) -> Callable[[Forward], BlackBox]:
    """Return the function from a module to a model for semantic segmentation."""

    def make(forward: Forward) -> BlackBox:
        def scores(images: Tensor) -> Tensor:
            return class_maps(_tensors(forward(images)), entry.outputs)

        return Segmenter(forward=scores, activation=entry.outputs.activation or "softmax", **carried)

    return make


def _detector(entry: ModelEntry, carried: dict[str, Any]) -> Callable[[Forward], BlackBox]:
    """Return the function from a module to a detector."""
    activation = entry.outputs.activation or "sigmoid"
    layout = DetectorLayout(entry.outputs, classes=len(carried["labels"]), activation=activation)

    def make(forward: Forward) -> BlackBox:
        def propose(images: Tensor) -> Detections:
            return detections(_tensors(forward(images)), layout, (images.shape[2], images.shape[3]))

        return Detector(forward=propose, **carried)

    return make


def _tensors(outputs: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in outputs.items() if isinstance(value, Tensor)}
