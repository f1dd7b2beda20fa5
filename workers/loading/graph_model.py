"""A model that is a graph in a file, whatever runs it: one input of pictures, outputs by name, words about itself.

What neither the entry nor the file says is read from what the graph gives for probe pictures
(`workers/loading/output_layout.py`), or refused with the line to write.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from workers.blackbox import BlackBox, Classifier, Detections, Detector, Segmenter
from workers.loading.assumptions import Assumptions
from workers.loading.metadata import merge_metadata
from workers.loading.output_layout import Squashing, check_that_outputs_change
from workers.loading.probed_model import ProbedModel, stacked
from workers.loading.torch_module import probe_batch
from workers.model_io.image_input import ImageInput, Run, preprocessing_for, run_batched
from workers.model_io.model_entry import ModelEntry, OutputsEntry
from workers.model_io.outputs import Outputs, class_maps, class_scores, detections
from workers.model_io.proposals import joined

ScoreReader = Callable[[Outputs, OutputsEntry], Tensor]
"""Outputs by name -> scores of classes."""


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
    model = ProbedModel(merged, folder, preprocessing, outputs, Assumptions(entry, merged))
    make = {"classification": _classifier, "detection": _detector, "segmentation": _segmenter}[model.task()]
    black_box = make(graph, model)
    check_that_outputs_change(outputs)
    return replace(
        black_box,
        files=graph.files,
        device=graph.device,
        dtype=graph.given.blended,
        fixed_batch=graph.given.fixed_batch,
        assumptions=model.assumptions.complete(black_box),
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


def _classifier(graph: Graph, model: ProbedModel) -> BlackBox:
    labels, activation = model.classes(*_scores(graph, model, class_scores))
    return Classifier(_forward(graph, model, class_scores), labels, model.preprocessing, activation)


def _segmenter(graph: Graph, model: ProbedModel) -> BlackBox:
    labels, activation = model.classes(*_scores(graph, model, class_maps))
    return Segmenter(_forward(graph, model, class_maps), labels, model.preprocessing, activation)


def _scores(graph: Graph, model: ProbedModel, read: ScoreReader) -> tuple[Tensor, Squashing | None]:
    """Return the scores for the probe images, and the last operation on them where it is known."""
    scores = read(model.outputs, model.entry.outputs)
    name = next(name for name, output in model.outputs.items() if output.data_ptr() == scores.data_ptr())
    return scores, graph.squashed.get(name)


def _forward(graph: Graph, model: ProbedModel, read: ScoreReader) -> Callable[[Tensor], Tensor]:
    return lambda images: torch.cat(
        [read(part, model.entry.outputs) for part in run_batched(graph.run, graph.given, images)]
    )


def _detector(graph: Graph, model: ProbedModel) -> BlackBox:
    layout, labels = model.detector_layout()

    def forward(images: Tensor) -> Detections:
        size = (images.shape[2], images.shape[3])
        return joined([detections(part, layout, size) for part in run_batched(graph.run, graph.given, images)])

    return Detector(forward, labels, model.preprocessing)
