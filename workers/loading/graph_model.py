"""A model that is a graph in a file, whatever runs it: one input of pictures, outputs by name, words about itself.

What neither the entry nor the file says is read from what the graph gives for a few pictures: the task, the number of
classes, and whether scores are probabilities already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from app.contract.schemas import Task
from workers.blackbox import Activation, BlackBox, Classifier, Detections, Detector, Preprocessing
from workers.loading.labels import labels_of
from workers.loading.metadata import merge_metadata
from workers.loading.torch_module import probe_batch
from workers.model_io.entry import ModelEntry
from workers.model_io.image_input import ImageInput, Run, preprocessing_for, run_batched
from workers.model_io.outputs import (
    DetectorLayout,
    Outputs,
    class_output,
    class_scores,
    detections,
    named,
    raw_class_scores,
)
from workers.model_io.proposals import joined

_NEARLY = 1e-3
_PICTURES = 2  # because a graph that promises any batch should keep that promise before the first explanation


@dataclass(frozen=True)
class Graph:
    """A graph that is ready to run.

    Attributes:
        run: pictures as the graph takes them -> outputs by name.
        given: what it takes.
        metadata: what its file says about itself.
        files: what it was read from.
        device: where it runs.
    """

    run: Run
    given: ImageInput
    metadata: Mapping[str, str]
    files: tuple[Path, ...]
    device: torch.device


def black_box_of(graph: Graph, entry: ModelEntry, *, folder: Path) -> BlackBox:
    """Make a black box of a graph.

    Args:
        graph: that runs.
        entry: the model's entry.
        folder: of the models file.

    Raises:
        ValueError: if graph, file and entry do not fit together.
    """
    entry = merge_metadata(entry, graph.metadata)
    preprocessing = preprocessing_for(graph.given, entry)
    pictures = probe_batch(preprocessing)[:_PICTURES].to(device=graph.device, dtype=graph.given.blended)
    with torch.inference_mode():
        first = next(run_batched(graph.run, graph.given, pictures))
        make = _classifier if _task(entry, first) == "classification" else _detector
        return make(graph, entry, folder, preprocessing, first)


def _task(entry: ModelEntry, outputs: Outputs) -> Task:
    """Return the task that is said, else the one that the outputs look like."""
    if entry.task is not None:
        return entry.task
    boxes = entry.outputs.packed is not None or named(outputs, "boxes", entry.outputs) is not None
    if not boxes and any(output.dim() == 3 for output in outputs.values()):
        raise ValueError("task: the outputs might be anything; say classification or detection, and see outputs.packed")
    return "detection" if boxes else "classification"


def _classifier(
    graph: Graph, entry: ModelEntry, folder: Path, preprocessing: Preprocessing, first: Outputs
) -> Classifier:
    scores = class_scores(first, entry.outputs)

    def forward(images: Tensor) -> Tensor:
        return torch.cat([class_scores(part, entry.outputs) for part in run_batched(graph.run, graph.given, images)])

    return Classifier(
        forward,
        labels_of(entry, folder=folder, count=scores.shape[1]),
        preprocessing,
        entry.outputs.activation or _activation(scores),
        files=graph.files,
        device=graph.device,
        dtype=graph.given.blended,
        fixed_batch=graph.given.fixed_batch,
    )


def _activation(scores: Tensor) -> Activation:
    """Return what turns scores into probabilities: nothing where those of each picture add up to 1."""
    scores = scores.float()
    add_up = bool(((scores.sum(1) - 1).abs() < _NEARLY).all())
    return "probabilities" if add_up and bool((scores >= 0).all()) else "softmax"


def _detector(graph: Graph, entry: ModelEntry, folder: Path, preprocessing: Preprocessing, first: Outputs) -> Detector:
    labels = labels_of(entry, folder=folder, count=_count_of_classes(entry, first))
    layout = DetectorLayout(entry.outputs, len(labels), entry.outputs.activation or "probabilities")

    def proposals(outputs: Outputs, images: Tensor) -> Detections:
        return detections(outputs, layout, (images.shape[2], images.shape[3]))

    def forward(images: Tensor) -> Detections:
        return joined([proposals(part, images) for part in run_batched(graph.run, graph.given, images)])

    _check_shapes(proposals(first, probe_batch(preprocessing)))
    if entry.outputs.activation is None:
        _check_probabilities(raw_class_scores(first, layout))
    return Detector(
        forward,
        labels,
        preprocessing,
        files=graph.files,
        device=graph.device,
        dtype=graph.given.blended,
        fixed_batch=graph.given.fixed_batch,
    )


def _count_of_classes(entry: ModelEntry, outputs: Outputs) -> int | None:
    """Return how many classes a detector has; None where its outputs do not tell, or only with its labels."""
    said = entry.outputs
    if said.packed == "boxes-score-label" or (said.packed and entry.labels):
        return None
    if said.packed:
        layout = DetectorLayout(said, 0, "probabilities")
        extra = 5 if said.packed == "boxes-objectness-scores" else 4
        return min(class_output(outputs, layout).shape[1:]) - extra  # because proposals outnumber their numbers
    scores = named(outputs, "scores", said)
    if scores is None or scores.dim() != 3 or named(outputs, "labels", said) is not None:
        return None
    return scores.shape[2] - (1 if said.background in {"first", "last"} else 0)


def _check_shapes(found: Detections) -> None:
    """Check that boxes, classes and objectness belong together.

    Raises:
        ValueError: if they are not.
    """
    boxes, classes, objectness = (list(part.shape) for part in (found.boxes_xyxy, found.classes, found.objectness))
    if boxes != [*objectness, 4] or classes[:2] != objectness:
        raise ValueError(f"outputs: boxes of shape {boxes} and scores of shape {classes} do not belong together")


def _check_probabilities(scores: Tensor | None) -> None:
    """Check that scores for which the entry names no activation need none.

    Raises:
        ValueError: if they are not between 0 and 1.
    """
    if scores is not None and scores.numel():
        low, high = float(scores.min()), float(scores.max())
        if low < -_NEARLY or high > 1 + _NEARLY:
            words = f'scores from {low:.3g} to {high:.3g} are no probabilities; say "sigmoid" or "softmax"'
            raise ValueError(f"outputs.activation: {words}")
