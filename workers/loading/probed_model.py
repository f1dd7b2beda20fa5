"""A model whose outputs for probe images are known: what they say about its task, its classes and its layout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from app.contract.schemas import Task
from workers.blackbox import Activation, Detections, Preprocessing
from workers.loading.assumptions import Assumptions
from workers.loading.labels import labels_of, names_of
from workers.loading.output_layout import Squashing, classifier_activation, derive_detector
from workers.loading.torch_module import probe_batch
from workers.model_io.model_entry import ModelEntry, OutputsEntry
from workers.model_io.outputs import (
    DetectorLayout,
    Outputs,
    detections,
    named,
    packed_output,
    raw_labels,
    raw_scores,
)

Labels = tuple[str, ...]


def stacked(parts: Sequence[Outputs]) -> Outputs:
    """Return the outputs of several batches as one; where they differ in the number of proposals, zeros fill up."""
    return {name: torch.cat(list(_even([part[name] for part in parts]))) for name in parts[0]}


def _even(values: Sequence[Tensor]) -> Iterator[Tensor]:
    most = max((value.shape[1] for value in values if value.dim() > 1), default=0)
    for value in values:
        missing = most - value.shape[1] if value.dim() > 1 else 0
        yield functional.pad(value, (0,) * (2 * (value.dim() - 2)) + (0, missing)) if missing else value


@dataclass(frozen=True)
class ProbedModel:
    """What is known of a model before it is a black box.

    Attributes:
        entry: the model's entry, with what its own file declares.
        folder: of the models file.
        preprocessing: of the probe images.
        outputs: for them, by name.
        assumptions: takes what the outputs say.
    """

    entry: ModelEntry
    folder: Path
    preprocessing: Preprocessing
    outputs: Outputs
    assumptions: Assumptions

    def task(self) -> Task:
        """Return the task that is declared, else the one that the outputs look like.

        Raises:
            ValueError: if they might be anything.
        """
        task = self.entry.task or _task_of(self.outputs, self.entry.outputs)
        self.assumptions.note("task", task, by_default="checked")
        return task

    def classes(self, scores: Tensor, squashed: Squashing | None = None) -> tuple[Labels, Activation]:
        """Return the names of the classes, and what turns their scores into probabilities.

        Args:
            scores: `[B, C]`, or `[B, C, h, w]`.
            squashed: the last operation on them, where it is known.

        Raises:
            ValueError: where what is declared contradicts the outputs.
        """
        per_place = scores.movedim(1, -1).flatten(0, -2)
        activation, source = classifier_activation(self.entry.outputs.activation, per_place, squashed)
        self.assumptions.note("outputs.activation", activation, by_default=source)
        return labels_of(self.entry, folder=self.folder, count=scores.shape[1]), activation

    def detector_layout(self) -> tuple[DetectorLayout, Labels]:
        """Return what a detector's outputs mean, and the names of its classes.

        Raises:
            ValueError: naming the line to write.
        """
        names = names_of(self.entry, folder=self.folder)
        height, width = probe_batch(self.preprocessing).shape[2:]
        declared = _with_extra_columns(self.entry.outputs, self.outputs)
        found = derive_detector(
            declared, self.outputs, labels=None if names is None else len(names), size=(height, width)
        )
        for name, value in found.entry.model_dump(exclude_none=True).items():
            self.assumptions.note(f"outputs.{name}", value, by_default=found.sources.get(name, "checked"))
        count = None
        if raw_labels(self.outputs, found.entry) is None:
            count = raw_scores(self.outputs, found.entry).shape[-1] - (found.entry.background != "none")
        labels = labels_of(self.entry, folder=self.folder, count=count)
        layout = DetectorLayout(found.entry, len(labels), found.entry.activation or "probabilities")
        _check_shapes(detections(self.outputs, layout, (height, width)))
        return layout, labels


def _task_of(outputs: Outputs, entry: OutputsEntry) -> Task:
    if entry.packed is not None or named(outputs, "boxes", entry) is not None:
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


def _with_extra_columns(entry: OutputsEntry, outputs: Outputs) -> OutputsEntry:
    """Return an entry with the coefficients of masks, for which there is a second output `[B, X, H, W]`."""
    if entry.packed is None or entry.extra_columns is not None or len(outputs) != 2:
        return entry
    rows = packed_output(outputs, entry)
    maps = [output for output in outputs.values() if output is not rows and output.dim() == 4]
    return entry.model_copy(update={"extra_columns": maps[0].shape[1]}) if maps else entry


def _check_shapes(found: Detections) -> None:
    """Check that boxes, classes and objectness belong together.

    Raises:
        ValueError: if they are not.
    """
    boxes, classes, objectness = (list(part.shape) for part in (found.boxes_xyxy, found.classes, found.objectness))
    if boxes != [*objectness, 4] or classes[:2] != objectness:
        raise ValueError(f"outputs: boxes of shape {boxes} and scores of shape {classes} do not belong together")
