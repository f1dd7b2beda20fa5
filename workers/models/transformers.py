"""Loader `transformers`: `source` is a folder that `save_pretrained` wrote, or an id of the Hugging Face hub.

Task, labels and preprocessing come from the files that lie beside the weights, which are SafeTensors or not read at
all. Every query of a detector is a proposal: nothing is dropped or suppressed.

[vit]
loader = "transformers"
source = "google/vit-base-patch16-224"
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from torch import Tensor, nn

from app.contract.schemas import RequestModel, Task
from workers.blackbox import Activation, BlackBox, Classifier, Detections, Detector, Segmenter
from workers.loading.labels import labels_of
from workers.loading.torch_module import Forward, prepare_module
from workers.model_io.entry import ModelEntry, OutputsEntry
from workers.model_io.hf_image_processor import read_preprocessing
from workers.model_io.hub import ModelSource, find_source, first_line
from workers.model_io.outputs import DetectorLayout, class_maps, class_scores, detections

_HEADS: dict[str, Task] = {
    "ForImageClassification": "classification",
    "ForObjectDetection": "detection",
    "ForSemanticSegmentation": "segmentation",
}
_LOADING = Lock()  # because transformers replaces functions of torch while it loads: two at once restore the wrong ones
_EXCLUSIVE = {"detr", "yolos", "table-transformer"}  # model types whose classes exclude each other, "no object" last


class TransformersOptions(RequestModel):
    """What `[MODEL.options]` may say for this loader."""

    revision: str | None = Field(None, description="Branch, tag or commit of a hub id.")


OPTIONS: type[RequestModel] = TransformersOptions


def load(entry: ModelEntry, options: TransformersOptions, *, folder: Path, device: torch.device) -> BlackBox:
    """Load a model with a head for classification, detection or semantic segmentation.

    Raises:
        ValueError: if the source is not there, holds no SafeTensors, has another task, or lacks weights of the model.
        ModuleNotFoundError: if transformers is not installed.
    """
    source = find_source(entry.source, folder=folder, revision=options.revision)
    config = _config(source)
    task = entry.task or _task(config, source)
    names = [str(config.id2label[index]) for index in range(config.num_labels)]
    labels = labels_of(entry, folder=folder, found=names, count=config.num_labels)
    preprocessing = read_preprocessing(entry, source.folder)
    carried = {"labels": labels, "preprocessing": preprocessing, "files": source.files, "identity": source.identity}
    make = {"classification": _classifier, "detection": _detector, "segmentation": _segmenter}[task](
        entry, config, carried
    )
    return prepare_module(_model(task, source, config), entry, device, make)


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


def _model(task: Task, source: ModelSource, config: Any) -> nn.Module:
    """Return the model with all its weights, from SafeTensors and nothing else."""
    import transformers  # noqa: PLC0415 - an optional library

    kind = getattr(transformers, f"AutoModel{next(head for head, its_task in _HEADS.items() if its_task == task)}")
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


def _classifier(entry: ModelEntry, config: Any, carried: dict[str, Any]) -> Callable[[Forward], BlackBox]:
    """Return the function from a module to a classifier."""
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    activation: Activation = entry.outputs.activation or ("sigmoid" if several else "softmax")

    def make(forward: Forward) -> BlackBox:
        def scores(images: Tensor) -> Tensor:
            return class_scores(_tensors(forward(images)), entry.outputs)

        return Classifier(forward=scores, activation=activation, **carried)

    return make


def _segmenter(entry: ModelEntry, config: Any, carried: dict[str, Any]) -> Callable[[Forward], BlackBox]:
    """Return the function from a module to a model for semantic segmentation."""
    activation: Activation = entry.outputs.activation or ("sigmoid" if config.num_labels == 1 else "softmax")

    def make(forward: Forward) -> BlackBox:
        def scores(images: Tensor) -> Tensor:
            return class_maps(_tensors(forward(images)), entry.outputs)

        return Segmenter(forward=scores, activation=activation, **carried)

    return make


def _detector(entry: ModelEntry, config: Any, carried: dict[str, Any]) -> Callable[[Forward], BlackBox]:
    """Return the function from a module to a detector."""
    layout = _layout(entry, config)

    def make(forward: Forward) -> BlackBox:
        def propose(images: Tensor) -> Detections:
            return detections(_tensors(forward(images)), layout, (images.shape[2], images.shape[3]))

        return Detector(forward=propose, **carried)

    return make


def _layout(entry: ModelEntry, config: Any) -> DetectorLayout:
    """Return what a detector's outputs mean: what its type says, overruled by the entry."""
    exclusive = config.model_type in _EXCLUSIVE
    found = OutputsEntry(
        activation="softmax" if exclusive else "sigmoid",
        background="last" if exclusive else "none",
        scores="logits",
        boxes="pred_boxes",
        box_format="cxcywh",
        box_unit="fraction",
    )
    merged = found.model_copy(update=entry.outputs.model_dump(exclude_none=True))
    return DetectorLayout(merged, classes=config.num_labels, activation=merged.activation or "sigmoid")


def _tensors(outputs: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in outputs.items() if isinstance(value, Tensor)}
