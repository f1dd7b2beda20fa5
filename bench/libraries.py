"""Explain beside forward for models of torchvision and transformers, loaded as an operator loads them: on a GPU.

Their weights are random and come from their configurations. They need those libraries, and a device on which 512 masks
of 640 x 640 pixels take seconds.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.loop import ratio_row, study_of
from bench.rows import Row
from workers.blackbox.batch_size import autotune_batch_size
from workers.loading.optional_imports import import_for_torch
from workers.model_io.model_entry import ModelEntry, PreprocessingEntry
from workers.models import load_model

_FILE = "weights.safetensors"


@dataclass(frozen=True)
class Case:
    """A model, and what is asked of it.

    Attributes:
        name: for its row.
        entry: of the models file.
        model: that library's, with random weights.
        method: that explains it.
        asked: targets.
        parameters: of the method.
        rounds: some take seconds for each.
    """

    name: str
    entry: ModelEntry
    model: Any
    method: str
    asked: str
    parameters: dict[str, Any]
    rounds: int


def rows(device: torch.device) -> Iterator[Row]:
    """Yield explain over forward for each of the models."""
    for make in (_residual_network, _transformer, _two_stages):
        yield _row(make(), device)


def _row(case: Case, device: torch.device) -> Row:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if case.entry.loader == "transformers":
            case.model.save_pretrained(folder)
            import_for_torch("transformers").RTDetrImageProcessorPil().save_pretrained(folder)
        else:
            save_file(case.model.state_dict(), folder / _FILE)
        model = load_model(case.entry, folder=folder, device=device)
        study = study_of(model, case.method, autotune_batch_size(model), case.asked, **case.parameters)
    height, width = study.problem.canvas.height, study.problem.canvas.width
    return ratio_row(f"{case.name}, {width} x {height}", study, model, 1.05, case.rounds)


def _residual_network() -> Case:
    model = import_for_torch("torchvision.models").resnet50(weights=None)
    entry = ModelEntry(
        loader="torchvision",
        source="resnet50",
        labels=[f"class {index}" for index in range(1000)],
        preprocessing=PreprocessingEntry(size=224, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
        precision="bfloat16",
        tolerance=1.0,
        channels_last=True,
        options={"weights": _FILE},
    )
    return Case("RISE: torchvision's ResNet-50, bfloat16, 5 targets", entry, model, "rise", "top:5", {"masks": 4000}, 3)


def _two_stages() -> Case:
    model = import_for_torch("torchvision.models.detection").fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None
    )
    entry = ModelEntry(
        loader="torchvision",
        source="fasterrcnn_resnet50_fpn",
        labels=[f"class {index}" for index in range(90)],
        options={"weights": _FILE},
    )
    options = {"masks": 128, "grid": 8, "threshold": 0.0, "rescue": False}
    return Case("D-RISE: torchvision's Faster R-CNN, float32, 5 targets", entry, model, "drise", "top:5", options, 1)


def _transformer() -> Case:
    transformers = import_for_torch("transformers")
    model = transformers.RTDetrForObjectDetection(transformers.RTDetrConfig())
    entry = ModelEntry(loader="transformers", source=".")
    options = {"masks": 512, "grid": 16, "threshold": 0.0, "max_targets": 20, "rescue": False}
    return Case(
        "D-RISE: transformers' RT-DETR (R50vd), float32, 20 targets", entry, model, "drise", "top:20", options, 2
    )
