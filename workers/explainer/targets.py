"""The targets of a request, resolved against the model's outputs for the unmasked image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from app.contract.errors import RiseError, unknown_choice
from app.contract.schemas import Prediction, TargetResult, TargetSpec
from workers.blackbox import Classifier, Segmenter

RequestedTargets = str | Sequence[TargetSpec] | None
ClassScore = Literal["probability", "logit", "log-odds"]

_NUMBERS_KEPT = 100_000  # per block, up to which the effects of all classes are kept


@dataclass(frozen=True)
class ResolvedTargets:
    """Targets, and how they are scored.

    Attributes:
        targets: what is explained.
        rows: the class of each row of scores; empty for detectors.
        target_rows: the row of each target.
        score: raw outputs of the model -> `[B, R]`, how much of each row's target is left.
        match: score above which something of a target counts as left.
        probability: raw outputs -> `[B, R]`, the same from 0 to 1, where the score is something else.
    """

    targets: list[TargetResult]
    rows: list[int]
    target_rows: list[int]
    score: Callable[[Any], Tensor]
    match: float = 0.0
    probability: Callable[[Any], Tensor] | None = None


def probabilities(black_box: Classifier | Segmenter, outputs: Tensor) -> Tensor:
    """Turn raw outputs into probabilities, both `[B, C]`, or `[B, C, h, w]` place by place."""
    match black_box.activation:
        case "softmax":
            return outputs.float().softmax(1)
        case "sigmoid":
            return outputs.float().sigmoid()
        case _:
            return outputs.float()


def logits(black_box: Classifier, outputs: Tensor) -> Tensor:
    """Turn raw outputs into logits, both `[B, C]`: log odds where the model gives nothing but probabilities."""
    return outputs.float().logit(eps=1e-6) if black_box.activation == "probabilities" else outputs.float()


def log_odds(black_box: Classifier, outputs: Tensor) -> Tensor:
    """Turn raw outputs into log(p / (1 - p)), both `[B, C]`; at most 13.8, where float32 still tells p from 1."""
    return probabilities(black_box, outputs).logit(eps=1e-6)


def top_classes(black_box: Classifier, scores: Tensor, count: int) -> list[Prediction]:
    """Return the classes with the highest of the scores `[C]`, the highest first."""
    values, classes = scores.topk(min(count, len(scores)))
    return [
        Prediction(label=label, name=black_box.labels[label], score=value)
        for value, label in zip(values.tolist(), classes.tolist(), strict=True)
    ]


def resolve_class_targets(
    black_box: Classifier,
    outputs: Tensor,
    requested: RequestedTargets,
    *,
    what: ClassScore,
    numbers_per_class: int | None,
) -> ResolvedTargets:
    """Resolve targets to the requested classes, by default to the top one.

    Effects of all classes are kept where they are small, so that a class that was not requested can be rendered later.

    Args:
        black_box: the classifier.
        outputs: its raw outputs on the unmasked image, `[1, C]`.
        requested: `top:N`, labels, or None.
        what: which score of a class.
        numbers_per_class: how many numbers a block keeps for each class; None keeps nothing but the targets.

    Raises:
        RiseError: `unknown-name` for a label that the model does not have; `model-failed` for scores that are not
            finite numbers.
    """
    scores = probabilities(black_box, outputs)[0]
    if not bool(torch.isfinite(scores).all()):
        raise RiseError("model-failed", "the model's scores on the unmasked image are not finite numbers")
    labels = _class_labels(black_box, scores, requested)
    keep_all = numbers_per_class is not None and len(scores) * numbers_per_class <= _NUMBERS_KEPT
    rows = list(range(len(scores))) if keep_all else sorted(set(labels))
    columns = torch.tensor(rows, device=outputs.device)
    transform = {"probability": probabilities, "logit": logits, "log-odds": log_odds}[what]
    targets = [
        TargetResult(index=index, label=label, name=black_box.labels[label], score=float(scores[label]))
        for index, label in enumerate(labels)
    ]
    return ResolvedTargets(
        targets,
        rows,
        [rows.index(label) for label in labels],
        lambda outputs: transform(black_box, outputs)[:, columns],
        probability=lambda outputs: probabilities(black_box, outputs)[:, columns],
    )


def _class_labels(black_box: Classifier, scores: Tensor, requested: RequestedTargets) -> list[int]:
    if requested is None or isinstance(requested, str):
        count = 1 if requested is None else int(requested.removeprefix("top:"))
        return [prediction.label for prediction in top_classes(black_box, scores, count)]
    return [class_index(black_box.labels, target.label, place) for place, target in enumerate(requested)]


def class_index(labels: Sequence[str], label: int | str | None, place: int) -> int:
    """Return the index of a class by its index or name.

    Raises:
        RiseError: `unknown-name`, pointing at the target at `place`.
    """
    if isinstance(label, int) and label < len(labels):
        return label
    if isinstance(label, str) and label in labels:
        return labels.index(label)
    raise unknown_choice(f"/targets/{place}/label", label, labels)
