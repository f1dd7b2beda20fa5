"""Loader `torchvision`: `source` is the name of a model builder, such as "resnet50" or "fasterrcnn_resnet50_fpn".

Weights are torchvision's own by name, with their transforms and categories, or a file. Detectors give every proposal:
no threshold, no suppression, whole class vectors.

[resnet]
loader = "torchvision"
source = "resnet50"
options = {weights = "IMAGENET1K_V2"}

[mine]
loader = "torchvision"
source = "resnet18"
labels = ["cat", "dog"]
options = {weights = "weights/mine.safetensors", transforms = "IMAGENET1K_V1"}
"""

import difflib
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from app.contract.schemas import AssumptionSource, JsonObject, RequestModel, Task
from workers.blackbox import BlackBox, Classifier, Detections, Detector, Preprocessing
from workers.loading.assumptions import assumptions_of
from workers.loading.labels import labels_of
from workers.loading.optional_imports import import_for_torch
from workers.loading.torch_module import Forward, prepare_module
from workers.loading.weights import load_into, read_weights, tensors_only
from workers.model_io.hub import first_line
from workers.model_io.model_entry import ModelEntry, OutputsEntry
from workers.model_io.outputs import DetectorLayout, class_scores, detections
from workers.model_io.preprocessing_config import preprocessing_of
from workers.model_io.torchvision_detector import Proposals, preprocessing_of_detector

_FILES = {".safetensors", ".pt", ".pth", ".bin"}
_LAYOUT = OutputsEntry(activation="probabilities", scores="scores", boxes="boxes", background="first")


class TorchvisionOptions(RequestModel):
    """What `[MODEL.options]` may say for this loader."""

    weights: str = Field("DEFAULT", description="Name of torchvision's weights, or a file relative to the models file.")
    num_classes: int | None = Field(
        None, ge=1, description='As the builder counts them: of detectors with "no object". Default: from the labels.'
    )
    transforms: str | None = Field(None, description="Where weights are a file: whose transforms they were made with.")
    arguments: JsonObject = Field(default_factory=dict, description="Further arguments of the builder.")


OPTIONS: type[RequestModel] = TorchvisionOptions


@dataclass(frozen=True)
class TorchvisionModel:
    """A model with what comes with its weights.

    Attributes:
        model: with its weights.
        weights: torchvision's, for their transforms; None where nobody says any.
        labels: the names of its classes, without a background.
        file: with the weights.
    """

    model: nn.Module
    weights: Any
    labels: tuple[str, ...]
    file: Path


def load(entry: ModelEntry, options: TorchvisionOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Build a model and load its weights.

    Raises:
        ValueError: for a builder or weights that do not exist, weights that do not fit, or a file that can hold code.
        ModuleNotFoundError: if torchvision is not installed.
    """
    task = _task(entry.source)
    from_file = Path(options.weights).suffix in _FILES
    built = (_from_file if from_file else _from_name)(entry, options, task, folder)
    outputs = _LAYOUT if task == "detection" else OutputsEntry(activation=entry.outputs.activation or "softmax")
    completed = entry.model_copy(update={"task": task, "outputs": outputs})
    black_box = (_detector if task == "detection" else _classifier)(completed, built, device)
    known = task == "detection" or built.weights is not None
    source: AssumptionSource = "file" if known else "convention"
    return replace(black_box, assumptions=assumptions_of(entry, completed, black_box, preprocessing=source))


def _task(name: str) -> Task:
    """Return what a builder's models do.

    Raises:
        ValueError: if there is no such builder, or its models do something else.
    """
    models = import_for_torch("torchvision.models")
    detectors = set(models.list_models(module=import_for_torch("torchvision.models.detection")))
    classifiers = set(models.list_models(module=models))
    if name in detectors:
        return "detection"
    if name in classifiers:
        return "classification"
    near = ", ".join(difflib.get_close_matches(name, detectors | classifiers)) or "see torchvision.models.list_models()"
    raise ValueError(f"source = {name!r}: torchvision has no such classifier or detector; {near}")


def _from_name(entry: ModelEntry, options: TorchvisionOptions, task: Task, folder: Path) -> TorchvisionModel:
    """Return a model with weights of torchvision's own."""
    models = import_for_torch("torchvision.models")
    weights = _weights_called(entry.source, options.weights)
    arguments = {"num_classes": options.num_classes} if options.num_classes else {}
    try:
        with tensors_only():
            model = models.get_model(entry.source, weights=weights, progress=False, **arguments, **options.arguments)
    except (OSError, pickle.UnpicklingError, RuntimeError, ValueError, TypeError) as cause:
        raise ValueError(f"options.weights = {options.weights!r} ({weights.url}): {first_line(cause)}") from cause
    categories = weights.meta["categories"][1 if task == "detection" else 0 :]
    labels = labels_of(entry, folder=folder, found=categories, count=len(categories))
    file = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    return TorchvisionModel(model, weights, labels, file)


def _weights_called(source: str, name: str) -> Any:
    models = import_for_torch("torchvision.models")
    known = models.get_model_weights(source).__members__
    short = name.rpartition(".")[2]
    if short not in known:
        raise ValueError(f"options: {source} has no weights {name!r}; choose from: {', '.join(known)}, or a file")
    return known[short]


def _from_file(entry: ModelEntry, options: TorchvisionOptions, task: Task, folder: Path) -> TorchvisionModel:
    """Return a model with weights from a file."""
    models = import_for_torch("torchvision.models")
    file = folder / options.weights
    tensors = read_weights(file)
    background = 1 if task == "detection" else 0
    count = options.num_classes or len(labels_of(entry, folder=folder)) + background
    labels = labels_of(entry, folder=folder, count=count - background)
    arguments: dict[str, Any] = {"weights_backbone": None} if task == "detection" else {}
    try:
        model = models.get_model(entry.source, weights=None, num_classes=count, **arguments, **options.arguments)
    except (TypeError, ValueError) as cause:
        raise ValueError(f"source = {entry.source!r}: {first_line(cause)}") from cause
    load_into(model, tensors, file)
    weights = None if options.transforms is None else _weights_called(entry.source, options.transforms)
    return TorchvisionModel(model, weights, labels, file)


def _classifier(entry: ModelEntry, built: TorchvisionModel, device: torch.device) -> BlackBox:
    found = None if built.weights is None else _of_preset(built.weights.transforms())
    preprocessing = preprocessing_of(entry, found)

    def make(forward: Forward) -> BlackBox:
        def scores(images: Tensor) -> Tensor:
            return class_scores({"scores": forward(images)}, entry.outputs)

        activation = entry.outputs.activation or "softmax"
        return Classifier(scores, built.labels, preprocessing, activation=activation, files=(built.file,))

    return prepare_module(built.model, entry, device, make)


def _of_preset(preset: Any) -> Preprocessing:
    """Return what the transforms of weights do."""
    side = preset.crop_size[0]
    return Preprocessing(
        size=(side, side),
        resize="crop",
        shortest_side=preset.resize_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _detector(entry: ModelEntry, built: TorchvisionModel, device: torch.device) -> BlackBox:
    preprocessing = preprocessing_of(entry, preprocessing_of_detector(built.model))
    layout = DetectorLayout(_LAYOUT, classes=len(built.labels), activation="probabilities")

    def make(forward: Forward) -> BlackBox:
        def propose(images: Tensor) -> Detections:
            return detections(forward(images), layout, (images.shape[2], images.shape[3]))

        return Detector(propose, built.labels, preprocessing, files=(built.file,))

    return prepare_module(Proposals(built.model), entry, device, make)
