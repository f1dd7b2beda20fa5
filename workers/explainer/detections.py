"""Targets of a detector: what it found in the unmasked image, or a box that the client gives, found or not."""

from dataclasses import dataclass

import torch
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.schemas import Prediction, TargetResult, TargetSpec
from workers.blackbox import Detections, Detector
from workers.blackbox.preprocessing import CoordinateTransform
from workers.explainer.targets import RequestedTargets, ResolvedTargets, class_index
from workers.saliency.similarity import SimilarityTerm, non_maximum_suppression, similarity

_CANDIDATES = 300
_MATCH = 0.05  # similarity from which a masked image counts as having matched


@dataclass(frozen=True)
class DetectedObject:
    """One distinct detection.

    Attributes:
        prediction: label, name, confidence and box in pixels of the upright image.
        box: `[4]` in pixels of the model's input.
        classes: `[C]`.
    """

    prediction: Prediction
    box: Tensor
    classes: Tensor


def distinct_detections(
    black_box: Detector, detections: Detections, lens: CoordinateTransform, *, threshold: float, limit: int
) -> list[DetectedObject]:
    """Return the distinct detections of one image above a confidence, the most confident first, at most `limit`."""
    boxes, classes, objectness = (
        values[0].float() for values in (detections.boxes_xyxy, detections.classes, detections.objectness)
    )
    if len(boxes) == 0:
        return []
    best, labels = classes.max(-1)
    confidence = best * objectness
    _check_finite(boxes, confidence)
    strongest = confidence.topk(min(_CANDIDATES, len(confidence))).indices
    kept = [
        int(strongest[place])
        for place in non_maximum_suppression(boxes[strongest], labels[strongest], confidence[strongest])
    ]
    return [
        DetectedObject(
            _prediction(black_box, lens, int(labels[row]), float(confidence[row]), boxes[row]), boxes[row], classes[row]
        )
        for row in kept
        if confidence[row] >= threshold
    ][:limit]


def _prediction(
    black_box: Detector, lens: CoordinateTransform, label: int, confidence: float, box: Tensor
) -> Prediction:
    return Prediction(label=label, name=black_box.labels[label], score=confidence, box=lens.to_image(box.tolist()))


def _check_finite(*values: Tensor) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise RiseError("model-failed", "the model's detections in the unmasked image are not finite numbers")


def resolve_detection_targets(
    black_box: Detector,
    detections: Detections,
    asked: RequestedTargets,
    lens: CoordinateTransform,
    *,
    part: SimilarityTerm,
    threshold: float,
    max_targets: int,
) -> ResolvedTargets:
    """Aim at detections of the unmasked image, by default at all, or at boxes that the client gives.

    Args:
        black_box: the detector.
        detections: everything that it proposes for the unmasked image, one image.
        asked: `top:N`, labels and boxes, or None.
        lens: between pixels of the image and of the model's input.
        part: which part of the similarity is explained.
        threshold: confidence from which a proposal is a detection.
        max_targets: detections that are explained at most unless asked for one by one.

    Raises:
        RiseError: `no-target` where the model finds nothing that was asked for.
    """
    if asked is None or isinstance(asked, str):
        limit = max_targets if asked is None else int(asked.removeprefix("top:"))
        found = distinct_detections(black_box, detections, lens, threshold=threshold, limit=limit)
        if not found:
            raise _nothing(black_box, detections, lens, threshold)
    else:
        found = [_asked_for(black_box, detections, lens, target, place) for place, target in enumerate(asked)]
    boxes, classes = torch.stack([one.box for one in found]), torch.stack([one.classes for one in found])

    def score(outputs: Detections) -> Tensor:
        proposed = (outputs.boxes_xyxy, outputs.classes, outputs.objectness)
        return similarity(boxes, classes, proposed, part=part)

    scores = score(detections)[0].tolist()
    targets = [_result(index, one, scores[index], part) for index, one in enumerate(found)]
    return ResolvedTargets(targets, [], list(range(len(targets))), score, match=_MATCH)


def _result(index: int, one: DetectedObject, score: float, part: SimilarityTerm) -> TargetResult:
    any_class = bool(one.classes.isnan().any())
    return TargetResult(
        index=index,
        label=None if any_class else one.prediction.label,
        name=None if any_class else one.prediction.name,
        score=one.prediction.score if part == "whole" and one.prediction.score >= 0 else score,
        box=one.prediction.box,
    )


def _asked_for(
    black_box: Detector, detections: Detections, lens: CoordinateTransform, target: TargetSpec, place: int
) -> DetectedObject:
    """Return what a client asked for: a box with or without a class, or the strongest detection of a class."""
    label = None if target.label is None else class_index(black_box.labels, target.label, place)
    if target.box is None:
        found = distinct_detections(black_box, detections, lens, threshold=0.0, limit=_CANDIDATES)
        named = [one for one in found if one.prediction.label == label]
        if not named:
            detail = (
                f"the model proposes no {black_box.labels[label or 0]!r} in this image; give a box to explain why not"
            )
            raise RiseError("no-target", detail)
        return named[0]
    device = detections.classes.device
    classes = torch.full((len(black_box.labels),), float("nan") if label is None else 0.0, device=device)
    if label is not None:
        classes[label] = 1.0
    box = torch.tensor(lens.to_input(target.box), device=device)
    shown = Prediction(label=label or 0, name=black_box.labels[label or 0], score=-1.0, box=target.box)
    return DetectedObject(shown, box, classes)


def _nothing(black_box: Detector, detections: Detections, lens: CoordinateTransform, threshold: float) -> RiseError:
    strongest = distinct_detections(black_box, detections, lens, threshold=0.0, limit=1)
    hint = (
        f"its strongest proposal is {strongest[0].prediction.name!r} with {strongest[0].prediction.score:.2f}"
        if strongest
        else "it proposes nothing at all"
    )
    return RiseError(
        "no-target",
        f"the model detects nothing above {threshold:g} in this image: {hint}. "
        "Give a box to learn what speaks for an object there, or lower the threshold",
    )
