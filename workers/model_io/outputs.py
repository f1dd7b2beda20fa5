"""Raw outputs of a model by their names, to scores `[B, C]` or `[B, C, h, w]`, or to `Detections`.

The entry by which they are read leaves nothing open: `workers/loading/output_layout.py` finds out what neither the
models file nor the model's own file says.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.blackbox import Activation, Detections
from workers.model_io.model_entry import OutputsEntry, Packed

Outputs = Mapping[str, Tensor]

FIXED_COLUMNS: dict[Packed, int] = {"boxes-scores": 4, "boxes-objectness-scores": 5, "boxes-score-label": 6}
"""Numbers of a proposal in a packed output, without those of the classes."""

_NAMES = {
    "scores": ("scores", "logits", "pred_logits", "class_logits", "probabilities", "output", "output0"),
    "boxes": ("boxes", "pred_boxes", "bboxes", "dets"),
    "labels": ("labels", "classes", "label"),
    "objectness": ("objectness", "confidence"),
}
"""How the common exporters call outputs."""


@dataclass(frozen=True)
class DetectorLayout:
    """What a detector's outputs mean.

    Attributes:
        entry: names and layout of its outputs.
        classes: number of classes C, without a background.
        activation: what turns raw scores into probabilities.
    """

    entry: OutputsEntry
    classes: int
    activation: Activation


def named(outputs: Outputs, role: str, entry: OutputsEntry) -> Tensor | None:
    """Return the output that plays a role, None where there is none. One that the entry names plays that role only.

    Raises:
        ValueError: if the entry names an output that the model does not have.
    """
    name = getattr(entry, role)
    if name is not None:
        if name not in outputs:
            raise ValueError(f"outputs.{role} = {name!r}: the model has {', '.join(outputs)}")
        return outputs[name]
    taken = {getattr(entry, other) for other in _NAMES}
    names = (*_NAMES["scores"], *_NAMES["labels"]) if role == "scores" else _NAMES[role]  # as RF-DETR calls its logits
    free = (outputs[name] for name in names if name in outputs and name not in taken)
    return next((output for output in free if _may_be(role, output)), None)


def _may_be(role: str, output: Tensor) -> bool:
    """Return whether an output has the shape of a role: labels are one number a proposal, boxes four."""
    if role == "labels":
        return output.dim() == 2
    if role == "boxes":
        return output.dim() == 3 and output.shape[-1] == 4
    return output.is_floating_point()


def class_scores(outputs: Outputs, entry: OutputsEntry) -> Tensor:
    """Return a classifier's raw scores, `[B, C]`.

    Raises:
        ValueError: if there are several outputs and none is known by name, or it is not one number a class.
    """
    scores = next(iter(outputs.values())) if len(outputs) == 1 and entry.scores is None else None
    scores = scores if scores is not None else named(outputs, "scores", entry)
    if scores is None:
        raise ValueError(f"outputs.scores: say which of {', '.join(outputs)} holds the scores of classes")
    if any(side > 1 for side in scores.shape[2:]):
        words = f"the scores have shape {list(scores.shape)}"
        raise ValueError(f"task: {words}, which is no one number a class; a classifier gives [batch, classes]")
    return scores.flatten(1)


def class_maps(outputs: Outputs, entry: OutputsEntry) -> Tensor:
    """Return a segmentation model's raw scores, `[B, C, h, w]`.

    Raises:
        ValueError: if there are several outputs and none is known by name, or it is no score for each class and place.
    """
    scores = next(iter(outputs.values())) if len(outputs) == 1 and entry.scores is None else None
    scores = scores if scores is not None else named(outputs, "scores", entry)
    if scores is None:
        raise ValueError(f"outputs.scores: say which of {', '.join(outputs)} holds the scores of classes; write scores")
    if scores.dim() != 4 or not scores.is_floating_point():
        words = f"the scores have shape {list(scores.shape)} and type {scores.dtype}"
        raise ValueError(f"outputs.scores: {words}; a segmentation model gives floats [batch, classes, rows, columns]")
    return scores


def detections(outputs: Outputs, layout: DetectorLayout, size: tuple[int, int]) -> Detections:
    """Return what a detector proposes.

    Args:
        outputs: raw outputs by name; boxes `[B, P, 4]`, scores `[B, P, C]` (with a background C + 1) or `[B, P]` with
            labels `[B, P]`; or one packed output `[B, P, 4 (+ 1) + C (+ X)]`, or `[B, 4 (+ 1) + C (+ X), P]`, or
            `[B, P, 4 + 2 (+ X)]`.
        layout: what they mean.
        size: height and width of the model's input.

    Raises:
        ValueError: if an output is missing or its shape makes no sense.
    """
    entry = layout.entry
    boxes = to_corners(raw_boxes(outputs, entry).float(), entry, size)
    labels = raw_labels(outputs, entry)
    scores = raw_scores(outputs, entry)
    if labels is not None:
        if scores.shape != labels.shape:
            raise ValueError(f"labels need boxes, and scores of the same shape; the model gives {', '.join(outputs)}")
        return Detections(boxes, _one_hot(labels, layout), scores.float().clamp(0, 1))
    if scores.dim() != 3:
        raise ValueError(f"the scores have shape {tuple(scores.shape)}; without labels they should be [B, P, C]")
    classes, likely = _probable(scores, layout)
    if classes.shape[-1] != layout.classes:
        words = f"outputs: scores of {classes.shape[-1]} classes for {layout.classes} labels"
        raise ValueError(f"{words}; outputs.background says whether one of them is 'no object'")
    objectness = raw_objectness(outputs, entry)
    if objectness is None:
        # Because a detection's confidence is class times objectness, and should be what the model itself calls it.
        classes = classes / likely.unsqueeze(-1).clamp(min=torch.finfo(classes.dtype).tiny)
    else:
        likely = objectness
    return Detections(boxes, classes, likely.clamp(0, 1))


def packed_output(outputs: Outputs, entry: OutputsEntry) -> Tensor:
    """Return the packed output.

    Raises:
        ValueError: if there are several outputs and none is known by name.
    """
    if len(outputs) == 1 and entry.scores is None:
        return next(iter(outputs.values()))
    found = named(outputs, "scores", entry)
    if found is None:
        raise ValueError(f"outputs.scores: say which of {', '.join(outputs)} is the packed output")
    return found


def _rows(outputs: Outputs, entry: OutputsEntry) -> Tensor:
    """Return a packed output as `[B, P, X]`, without the numbers behind the classes."""
    assert entry.packed is not None
    whole = packed_output(outputs, entry)
    if whole.dim() != 3:
        raise ValueError(f"the packed output has shape {tuple(whole.shape)}; it should have three axes")
    rows = whole.mT if entry.columns_first else whole
    rows = rows[..., : rows.shape[-1] - (entry.extra_columns or 0)]
    if rows.shape[-1] < FIXED_COLUMNS[entry.packed]:
        raise ValueError(f"the packed output has shape {tuple(whole.shape)}; that is too few numbers a proposal")
    return rows


def raw_boxes(outputs: Outputs, entry: OutputsEntry) -> Tensor:
    """Return boxes as the model gives them, `[B, P, 4]`."""
    return _rows(outputs, entry)[..., :4] if entry.packed else _required(outputs, "boxes", entry)


def raw_scores(outputs: Outputs, entry: OutputsEntry) -> Tensor:
    """Return scores as the model gives them: `[B, P, C]`, or `[B, P]` where each proposal has one label."""
    if not entry.packed:
        return _required(outputs, "scores", entry)
    rows = _rows(outputs, entry)
    return rows[..., 4] if entry.packed == "boxes-score-label" else rows[..., FIXED_COLUMNS[entry.packed] :]


def raw_labels(outputs: Outputs, entry: OutputsEntry) -> Tensor | None:
    """Return the class index of each proposal, `[B, P]`; None where it has a score for each class."""
    if not entry.packed:
        return named(outputs, "labels", entry)
    return _rows(outputs, entry)[..., 5] if entry.packed == "boxes-score-label" else None


def raw_objectness(outputs: Outputs, entry: OutputsEntry) -> Tensor | None:
    """Return how likely it is that a proposal is anything, `[B, P]`; None where the model does not say it."""
    if entry.packed:
        return _rows(outputs, entry)[..., 4] if entry.packed == "boxes-objectness-scores" else None
    objectness = named(outputs, "objectness", entry)
    return None if objectness is None else objectness.flatten(1)


def _required(outputs: Outputs, role: str, entry: OutputsEntry) -> Tensor:
    found = named(outputs, role, entry)
    if found is None:
        raise ValueError(f"outputs.{role}: say which of {', '.join(outputs)} it is")
    return found


def _one_hot(labels: Tensor, layout: DetectorLayout) -> Tensor:
    """Return class vectors `[B, P, C]`; a label that is no class gives zeros, so that it matches nothing."""
    first = 1 if layout.entry.background == "first" else 0
    indices = labels.long() - first
    known = (indices >= 0) & (indices < layout.classes)
    return functional.one_hot(indices.clamp(0, layout.classes - 1), layout.classes).float() * known.unsqueeze(-1)


def _probable(scores: Tensor, layout: DetectorLayout) -> tuple[Tensor, Tensor]:
    """Return probabilities of the classes `[B, P, C]`, and of there being anything `[B, P]`.

    A model without a background says how sure it is that there is anything in its best class.
    """
    scores = scores.float()
    if layout.activation == "softmax":
        scores = scores.softmax(-1)
    elif layout.activation == "sigmoid":
        scores = scores.sigmoid()
    background = layout.entry.background
    if background == "last":
        return scores[..., :-1], 1 - scores[..., -1]
    if background == "first":
        return scores[..., 1:], 1 - scores[..., 0]
    return scores, scores.amax(-1)


def to_corners(boxes: Tensor, entry: OutputsEntry, size: tuple[int, int]) -> Tensor:
    """Return boxes `[..., 4]` as x0, y0, x1, y1 in pixels of the model's input of height and width `size`."""
    if entry.box_format in {"cxcywh", "xywh"}:
        first, extent = boxes[..., :2], boxes[..., 2:]
        if entry.box_format == "cxcywh":
            first = first - extent / 2
        boxes = torch.cat([first, first + extent], -1)
    if entry.box_unit == "fraction":
        height, width = size
        boxes = boxes * boxes.new_tensor([width, height, width, height])
    return boxes
