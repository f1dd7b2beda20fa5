"""A model that is a graph in a file, whatever runs it: one input of pictures, outputs by name, words about itself.

What neither the entry nor the file says is read from what the graph gives for probe pictures
(`workers/loading/output_layout.py`), or refused with the line to write.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from app.contract.schemas import Task
from workers.blackbox import BlackBox, Classifier, Detections, Detector, Preprocessing, Segmenter
from workers.loading.assumptions import Assumptions
from workers.loading.labels import labels_of, names_of
from workers.loading.metadata import merge_metadata
from workers.loading.output_layout import (
    Squashing,
    check_that_outputs_change,
    classifier_activation,
    derive_detector,
)
from workers.loading.torch_module import probe_batch
from workers.model_io.entry import ModelEntry, OutputsEntry
from workers.model_io.image_input import ImageInput, Run, preprocessing_for, run_batched
from workers.model_io.outputs import (
    DetectorLayout,
    Outputs,
    class_maps,
    class_scores,
    detections,
    named,
    packed_output,
    raw_labels,
    raw_scores,
)
from workers.model_io.proposals import joined


@dataclass(frozen=True)
class Graph:
    """A graph that is ready to run.

    Attributes:
        run: pictures as the graph takes them -> outputs by name.
        given: what it takes.
        metadata: what its file says about itself.
        files: what it was read from.
        device: where it runs.
        squashed: outputs of which the last operation is known -> that operation.
    """

    run: Run
    given: ImageInput
    metadata: Mapping[str, str]
    files: tuple[Path, ...]
    device: torch.device
    squashed: Mapping[str, Squashing] = field(default_factory=dict)


def black_box_of(graph: Graph, entry: ModelEntry, *, folder: Path) -> BlackBox:
    """Make a black box of a graph.

    Args:
        graph: that runs.
        entry: the model's entry.
        folder: of the models file.

    Raises:
        ValueError: if graph, file and entry do not fit together, or something is open that only the operator can say.
    """
    merged = merge_metadata(entry, graph.metadata)
    preprocessing = preprocessing_for(graph.given, merged)
    images = probe_batch(preprocessing).to(device=graph.device, dtype=graph.given.blended)
    with torch.inference_mode():
        graph = _with_batch_axis(graph, merged.outputs, images)
        outputs = stacked(list(run_batched(graph.run, graph.given, images)))
    assumed = Assumptions(entry, merged)
    task = task_of(merged, outputs)
    assumed.note("task", task, by_default="checked")
    make = {"classification": _classifier, "detection": _detector, "segmentation": _segmenter}[task]
    black_box = make(graph, merged, folder, preprocessing, outputs, assumed)
    check_that_outputs_change(outputs)
    return replace(
        black_box,
        files=graph.files,
        device=graph.device,
        dtype=graph.given.blended,
        fixed_batch=graph.given.fixed_batch,
        assumptions=assumed.complete(black_box),
    )


def _with_batch_axis(graph: Graph, entry: OutputsEntry, images: Tensor) -> Graph:
    """Return a graph whose outputs count pictures on their first axis, also where it takes one picture and does not.

    torchvision's detectors are exported so.
    """
    if graph.given.fixed_batch != 1:
        return graph
    outputs = next(run_batched(graph.run, graph.given, images[:1], checked=False))
    boxes = next((outputs[name] for name in ("boxes", "dets") if name in outputs), None)
    boxes = outputs[entry.boxes] if entry.boxes is not None and entry.boxes in outputs else boxes
    flat = boxes is not None and boxes.dim() == 2
    if not flat and any(output.dim() > 0 and len(output) == 1 for output in outputs.values()):
        return graph
    run = graph.run
    return replace(graph, run=lambda images: {name: output.unsqueeze(0) for name, output in run(images).items()})


def stacked(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of several batches as one; where they differ in the number of proposals, zeros fill up."""
    return {name: torch.cat(list(_even([part[name] for part in parts]))) for name in parts[0]}


def _even(values: Sequence[Tensor]) -> Iterator[Tensor]:
    most = max((value.shape[1] for value in values if value.dim() > 1), default=0)
    for value in values:
        missing = most - value.shape[1] if value.dim() > 1 else 0
        yield functional.pad(value, (0,) * (2 * (value.dim() - 2)) + (0, missing)) if missing else value


def task_of(entry: ModelEntry, outputs: Outputs) -> Task:
    """Return the task that is said, else the one that the outputs look like.

    Raises:
        ValueError: if they might be anything.
    """
    if entry.task is not None:
        return entry.task
    if entry.outputs.packed is not None or named(outputs, "boxes", entry.outputs) is not None:
        return "detection"
    if len(outputs) == 1 and all(output.dim() == 4 and max(output.shape[2:]) > 1 for output in outputs.values()):
        return "segmentation"
    if any(output.dim() == 3 for output in outputs.values()):
        shapes = ", ".join(f"{name} {list(output.shape)}" for name, output in outputs.items())
        raise ValueError(
            f"task: the outputs ({shapes}) might be anything; write task, and for a detector outputs.packed, "
            "or which of them holds boxes and which scores"
        )
    return "classification"


def _classifier(
    graph: Graph, entry: ModelEntry, folder: Path, preprocessing: Preprocessing, outputs: Outputs, assumed: Assumptions
) -> BlackBox:
    scores = class_scores(outputs, entry.outputs)
    squashed = next(iter(graph.squashed.values())) if len(outputs) == len(graph.squashed) == 1 else None
    if entry.outputs.scores is not None:
        squashed = graph.squashed.get(entry.outputs.scores)
    activation, source = classifier_activation(entry.outputs.activation, scores, squashed)
    assumed.note("outputs.activation", activation, by_default=source)

    def forward(images: Tensor) -> Tensor:
        return torch.cat([class_scores(part, entry.outputs) for part in run_batched(graph.run, graph.given, images)])

    labels = labels_of(entry, folder=folder, count=scores.shape[1])
    return Classifier(forward, labels, preprocessing, activation)


def _segmenter(
    graph: Graph, entry: ModelEntry, folder: Path, preprocessing: Preprocessing, outputs: Outputs, assumed: Assumptions
) -> BlackBox:
    scores = class_maps(outputs, entry.outputs)
    squashed = graph.squashed.get(entry.outputs.scores or next(iter(outputs)))
    per_place = scores.movedim(1, -1).flatten(0, -2)
    activation, source = classifier_activation(entry.outputs.activation, per_place, squashed)
    assumed.note("outputs.activation", activation, by_default=source)

    def forward(images: Tensor) -> Tensor:
        return torch.cat([class_maps(part, entry.outputs) for part in run_batched(graph.run, graph.given, images)])

    labels = labels_of(entry, folder=folder, count=scores.shape[1])
    return Segmenter(forward, labels, preprocessing, activation)


def _detector(
    graph: Graph, entry: ModelEntry, folder: Path, preprocessing: Preprocessing, outputs: Outputs, assumed: Assumptions
) -> BlackBox:
    layout, labels = detector_layout(entry, outputs, folder, preprocessing, assumed)

    def proposals(outputs: Outputs, images: Tensor) -> Detections:
        return detections(outputs, layout, (images.shape[2], images.shape[3]))

    def forward(images: Tensor) -> Detections:
        return joined([proposals(part, images) for part in run_batched(graph.run, graph.given, images)])

    return Detector(forward, labels, preprocessing)


def detector_layout(
    entry: ModelEntry, outputs: Outputs, folder: Path, preprocessing: Preprocessing, assumed: Assumptions
) -> tuple[DetectorLayout, tuple[str, ...]]:
    """Return what a detector's outputs mean, and the names of its classes.

    Args:
        entry: the model's entry, with what its file says.
        outputs: for probe pictures.
        folder: of the models file.
        preprocessing: what happened to the probe pictures.
        assumed: takes what was found out.

    Raises:
        ValueError: naming the line to write.
    """
    names = names_of(entry, folder=folder)
    size = tuple(probe_batch(preprocessing).shape[2:])
    said = _with_extra_columns(entry, outputs)
    derived = derive_detector(said, outputs, labels=None if names is None else len(names), size=(size[0], size[1]))
    for name, value in derived.entry.model_dump(exclude_none=True).items():
        assumed.note(f"outputs.{name}", str(value), by_default=derived.sources.get(name, "checked"))
    count = None
    if raw_labels(outputs, derived.entry) is None:
        count = raw_scores(outputs, derived.entry).shape[-1] - (derived.entry.background != "none")
    labels = labels_of(entry, folder=folder, count=count)
    layout = DetectorLayout(derived.entry, len(labels), derived.entry.activation or "probabilities")
    _check_shapes(detections(outputs, layout, (size[0], size[1])))
    return layout, labels


def _with_extra_columns(entry: ModelEntry, outputs: Outputs) -> OutputsEntry:
    """Return the outputs' entry with the coefficients of masks, for which there is a second output `[B, X, H, W]`."""
    said = entry.outputs
    if said.packed is None or said.extra_columns is not None or len(outputs) != 2:
        return said
    rows = packed_output(outputs, said)
    maps = [output for output in outputs.values() if output is not rows and output.dim() == 4]
    return said.model_copy(update={"extra_columns": maps[0].shape[1]}) if maps else said


def _check_shapes(found: Detections) -> None:
    """Check that boxes, classes and objectness belong together.

    Raises:
        ValueError: if they are not.
    """
    boxes, classes, objectness = (list(part.shape) for part in (found.boxes_xyxy, found.classes, found.objectness))
    if boxes != [*objectness, 4] or classes[:2] != objectness:
        raise ValueError(f"outputs: boxes of shape {boxes} and scores of shape {classes} do not belong together")
