"""Loader `timm`: `source` is the name of a model ("resnet18.a1_in1k"), a hub id ("hf_hub:owner/name") or a folder.

Weights are SafeTensors of the hub or of a folder, or a file that the entry names. Preprocessing is what timm resolves
for the model.

[resnet]
loader = "timm"
source = "resnet18.a1_in1k"

[mine]
loader = "timm"
source = "resnet18"
labels = ["cat", "dog"]
options = {weights = "weights/mine.safetensors"}
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor

from app.contract.schemas import JsonObject, RequestModel
from workers.blackbox import BlackBox, Classifier, Interpolation, Preprocessing
from workers.loading.assumptions import assumptions_of
from workers.loading.labels import labels_of
from workers.loading.optional_imports import import_for_torch
from workers.loading.torch_module import Forward, prepare_module
from workers.loading.weights import load_into, read_weights, tensors_only
from workers.model_io.hub import ModelSource, find_source, first_line
from workers.model_io.model_entry import ModelEntry
from workers.model_io.outputs import class_scores
from workers.model_io.preprocessing_config import preprocessing_of

_FILTERS: dict[str, Interpolation] = {"nearest": "nearest", "bilinear": "bilinear"}  # all others: bicubic
_HUB_PREFIX = r"hf[-_]hub:"


class TimmOptions(RequestModel):
    """What `[MODEL.options]` may say for this loader."""

    weights: str | None = Field(None, description="A file relative to the models file; default: from the hub.")
    num_classes: int | None = Field(None, ge=1, description="Of a file of weights; default: as many as labels.")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub id.")
    arguments: JsonObject = Field(default_factory=dict, description="Further arguments of `timm.create_model`.")


OPTIONS: type[RequestModel] = TimmOptions


@dataclass(frozen=True)
class TimmModel:
    """A model with its weights, the names of its classes, and where the weights come from."""

    model: Any
    labels: tuple[str, ...]
    source: ModelSource


def load(entry: ModelEntry, options: TimmOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Build a classifier and load its weights.

    Raises:
        ValueError: for a model that does not exist, weights that do not fit, or a file that can hold code.
        ModuleNotFoundError: if timm is not installed.
    """
    if entry.task == "detection":
        raise ValueError("task: models of timm are classifiers")
    built = _from_file(entry, options, folder) if options.weights else _from_source(entry, options, folder)
    preprocessing = preprocessing_of(entry, _preprocessing(entry, built.model))
    activation = entry.outputs.activation or "softmax"
    outputs = entry.outputs.model_copy(update={"activation": activation})
    completed = entry.model_copy(update={"task": "classification", "outputs": outputs})

    def make(forward: Forward) -> BlackBox:
        def scores(images: Tensor) -> Tensor:
            return class_scores({"scores": forward(images)}, entry.outputs)

        where = built.source
        return Classifier(scores, built.labels, preprocessing, activation, files=where.files, identity=where.identity)

    black_box = prepare_module(built.model, entry, device, make)
    return replace(black_box, assumptions=assumptions_of(entry, completed, black_box))


def _from_file(entry: ModelEntry, options: TimmOptions, folder: Path) -> TimmModel:
    """Return a model with weights from a file."""
    file = folder / str(options.weights)
    tensors = read_weights(file)
    _check_known(entry.source)
    count = options.num_classes or len(labels_of(entry, folder=folder))
    model = _create(entry.source, num_classes=count, **options.arguments)
    load_into(model, tensors, file)
    return TimmModel(model, labels_of(entry, folder=folder, count=count), ModelSource(folder, files=(file,)))


def _from_source(entry: ModelEntry, options: TimmOptions, folder: Path) -> TimmModel:
    """Return a model with the weights of a folder or a hub id; a name of timm's stands for a hub id."""
    name = entry.source
    if not (folder / name).is_dir():
        name = re.sub(_HUB_PREFIX, "", name) if re.match(_HUB_PREFIX, name) else _hub_id(name)
    source = find_source(name, folder=folder, revision=options.revision)
    model = _create(f"local-dir:{source.folder}", pretrained=True, **options.arguments)
    labels = labels_of(entry, folder=folder, found=_names(model.pretrained_cfg), count=model.num_classes)
    return TimmModel(model, labels, source)


def _check_known(name: str) -> None:
    timm = import_for_torch("timm")
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models())) or "see timm.list_models()"
        raise ValueError(f"source = {name!r}: timm has no such model; {near}")


def _hub_id(name: str) -> str:
    _check_known(name)
    config = import_for_torch("timm").get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        raise ValueError(f"source = {name!r}: timm knows no weights of it on the hub; give a file in options.weights")
    return str(config.hf_hub_id)


def _create(name: str, **arguments: Any) -> Any:
    timm = import_for_torch("timm")
    try:
        with tensors_only():
            return timm.create_model(name, **arguments)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as cause:
        raise ValueError(f"{name}: {first_line(cause)}") from cause


def _names(config: Mapping[str, Any]) -> list[str] | None:
    """Return the names of classes that a model's configuration carries, or of the ImageNet that it was trained on."""
    names, words = config.get("label_names"), config.get("label_descriptions")
    if names:
        return [str(words.get(name, name)) if isinstance(words, dict) else str(name) for name in names]
    data = import_for_torch("timm.data")
    subset = data.infer_imagenet_subset(config)
    return list(data.ImageNetInfo(subset).label_descriptions()) if subset else None


def _preprocessing(entry: ModelEntry, model: Any) -> Preprocessing:
    """Return what timm resolves for a model.

    Raises:
        ValueError: if it has no counterpart here and the entry does not say it.
    """
    data = import_for_torch("timm.data").resolve_model_data_config(model)
    channels, height, width = data["input_size"]
    if channels not in {1, 3}:
        raise ValueError(f"the model takes pictures of {channels} channels")
    found = Preprocessing(
        size=(height, width),
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        interpolation=_FILTERS.get(data["interpolation"], "bicubic"),
        channels="rgb" if channels == 3 else "grey",
    )
    return found if entry.preprocessing.resize else _cut(found, data["crop_mode"], data["crop_pct"])


def _cut(found: Preprocessing, mode: str, fraction: float) -> Preprocessing:
    """Return how pictures are resized, and which part of them is cut."""
    assert found.size is not None
    whole = (math.floor(found.size[0] / fraction), math.floor(found.size[1] / fraction))
    if mode == "squash":
        return replace(found, resize="crop", stretched_to=whole)
    if mode != "center" or (whole[0] != whole[1] and whole != found.size):
        raise ValueError(f"preprocessing.resize: timm's crop mode {mode!r} has no counterpart here; say it")
    return replace(found, resize="crop", shortest_side=whole[0] if whole[0] == whole[1] else None)
