"""Raw outputs of a model by their names, to scores `[B, C]` or `Detections`.

Names and layouts come from the entry (`[MODEL.outputs]`); what it does not say is guessed from names that the common
exporters use, and from shapes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.blackbox import Activation, Detections
from workers.model_io.entry import OutputsEntry

Outputs = Mapping[str, Tensor]

_GUESSES = {
    "scores": ("scores", "logits", "class_logits", "probabilities", "output", "output0"),
    "boxes": ("boxes", "pred_boxes", "bboxes", "dets"),
    "labels": ("labels", "classes", "label"),
    "objectness": ("objectness", "confidence"),
}


@dataclass(frozen=True)
class DetectorLayout:
    """What a detector's outputs mean.

    Attributes:
        entry: what the models file says.
        classes: number of classes C, without a background.
        activation: what turns raw scores into probabilities.
    """

    entry: OutputsEntry
    classes: int
    activation: Activation


def named(outputs: Outputs, role: str, entry: OutputsEntry) -> Tensor | None:
    """Return the output that plays a role, None where there is none.

    Raises:
        ValueError: if the entry names an output that the model does not have.
    """
    asked = getattr(entry, role)
    if asked is not None:
        if asked not in outputs:
            raise ValueError(f"outputs.{role} = {asked!r}: the model has {', '.join(outputs)}")
        return outputs[asked]
    return next((outputs[name] for name in _GUESSES[role] if name in outputs), None)


def class_scores(outputs: Outputs, entry: OutputsEntry) -> Tensor:
    """Return a classifier's raw scores, `[B, C]`.

    Raises:
        ValueError: if there are several outputs and none is known by name.
    """
    scores = next(iter(outputs.values())) if len(outputs) == 1 and entry.scores is None else None
    scores = scores if scores is not None else named(outputs, "scores", entry)
    if scores is None:
        raise ValueError(f"outputs.scores: say which of {', '.join(outputs)} holds the scores of classes")
    return scores.flatten(1)


def detections(outputs: Outputs, layout: DetectorLayout, size: tuple[int, int]) -> Detections:
    """Return what a detector proposes.

    Args:
        outputs: raw outputs by name; boxes `[B, P, 4]`, scores `[B, P, C]` (with a background C + 1) or `[B, P]` with
            labels `[B, P]`; or one packed output `[B, P, 4 (+ 1) + C]`, or `[B, 4 (+ 1) + C, P]`, or `[B, P, 4 + 2]`.
        layout: what they mean.
        size: height and width of the model's input.

    Raises:
        ValueError: if an output is missing or its shape makes no sense.
    """
    labels = named(outputs, "labels", layout.entry)
    if layout.entry.packed == "boxes-score-label":
        return _labelled(_unpacked(class_output(outputs, layout)), layout, size)
    if labels is not None and not layout.entry.packed:
        return _labelled(_labelled_parts(outputs, labels, layout), layout, size)
    boxes, scores, objectness = _packed(outputs, layout) if layout.entry.packed else _separate(outputs, layout)
    classes, likely = _probable(scores, layout)
    if classes.shape[-1] != layout.classes:
        words = f"outputs: scores of {classes.shape[-1]} classes for {layout.classes} labels"
        raise ValueError(f"{words}; outputs.background says whether one of them is 'no object'")
    if objectness is None:
        # Because a detection's confidence is class times objectness, and should be what the model itself calls it.
        classes = classes / likely.unsqueeze(-1).clamp(min=torch.finfo(classes.dtype).tiny)
    else:
        likely = objectness
    return Detections(_corners(boxes.float(), layout.entry, size), classes, likely.clamp(0, 1))


def raw_class_scores(outputs: Outputs, layout: DetectorLayout) -> Tensor | None:
    """Return a detector's scores as they come, `[B, P, C]`; None where each proposal has one label only."""
    if layout.entry.packed == "boxes-score-label" or (
        named(outputs, "labels", layout.entry) is not None and not layout.entry.packed
    ):
        return None
    return (_packed(outputs, layout) if layout.entry.packed else _separate(outputs, layout))[1]


def _packed(outputs: Outputs, layout: DetectorLayout) -> tuple[Tensor, Tensor, Tensor | None]:
    whole = class_output(outputs, layout)
    extra = 1 if layout.entry.packed == "boxes-objectness-scores" else 0
    width = 4 + extra + layout.classes
    if whole.dim() != 3 or width not in whole.shape[1:]:
        raise ValueError(f"the packed output has shape {tuple(whole.shape)}; one side should be {width} long")
    rows = whole if whole.shape[2] == width else whole.mT
    return rows[..., :4], rows[..., 4 + extra :], rows[..., 4] if extra else None


def class_output(outputs: Outputs, layout: DetectorLayout) -> Tensor:
    """Return the packed output."""
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    found = named(outputs, "scores", layout.entry)
    if found is None:
        raise ValueError(f"outputs.scores: say which of {', '.join(outputs)} is the packed output")
    return found


def _separate(outputs: Outputs, layout: DetectorLayout) -> tuple[Tensor, Tensor, Tensor | None]:
    boxes, scores = (named(outputs, role, layout.entry) for role in ("boxes", "scores"))
    if boxes is None or scores is None:
        missing = "boxes" if boxes is None else "scores"
        raise ValueError(f"outputs.{missing}: say which of {', '.join(outputs)} it is")
    objectness = named(outputs, "objectness", layout.entry)
    if scores.dim() != 3:
        raise ValueError(f"the scores have shape {tuple(scores.shape)}; without labels they should be [B, P, C]")
    return boxes, scores, None if objectness is None else objectness.flatten(1)


def _unpacked(whole: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and labels of an output that has them side by side."""
    if whole.dim() != 3 or whole.shape[2] != 6:
        raise ValueError(f"the packed output has shape {tuple(whole.shape)}; its last side should be 6 long")
    return whole[..., :4], whole[..., 4], whole[..., 5]


def _labelled_parts(outputs: Outputs, labels: Tensor, layout: DetectorLayout) -> tuple[Tensor, Tensor, Tensor]:
    boxes, scores = (named(outputs, role, layout.entry) for role in ("boxes", "scores"))
    if boxes is None or scores is None or scores.shape != labels.shape:
        raise ValueError(f"labels need boxes, and scores of the same shape; the model gives {', '.join(outputs)}")
    return boxes, scores, labels


def _labelled(parts: tuple[Tensor, Tensor, Tensor], layout: DetectorLayout, size: tuple[int, int]) -> Detections:
    """Return the proposals of a model that gives one label and one probability each."""
    boxes, scores, labels = parts
    corners = _corners(boxes.float(), layout.entry, size)
    return Detections(corners, _one_hot(labels, layout), scores.float().clamp(0, 1))


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


def _corners(boxes: Tensor, entry: OutputsEntry, size: tuple[int, int]) -> Tensor:
    """Return boxes as x0, y0, x1, y1 in pixels of the model's input."""
    if entry.box_format in {"cxcywh", "xywh"}:
        first, extent = boxes[..., :2], boxes[..., 2:]
        if entry.box_format == "cxcywh":
            first = first - extent / 2
        boxes = torch.cat([first, first + extent], -1)
    if entry.box_unit == "fraction":
        height, width = size
        boxes = boxes * boxes.new_tensor([width, height, width, height])
    return boxes
