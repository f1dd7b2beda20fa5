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
    black_box: Detector, detections: Detections, transform: CoordinateTransform, *, threshold: float, limit: int
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
        int(strongest[index])
        for index in non_maximum_suppression(boxes[strongest], labels[strongest], confidence[strongest])
    ]
    strong = [row for row in kept if confidence[row] >= threshold][:limit]
    return [
        DetectedObject(
            Prediction(
                label=int(labels[row]),
                name=black_box.labels[int(labels[row])],
                score=float(confidence[row]),
                box=transform.to_image(boxes[row].tolist()),
            ),
            boxes[row],
            classes[row],
        )
        for row in strong
    ]


def _check_finite(*values: Tensor) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in values):
        raise RiseError("model-failed", "the model's detections in the unmasked image are not finite numbers")


def resolve_detection_targets(
    black_box: Detector,
    detections: Detections,
    requested: RequestedTargets,
    transform: CoordinateTransform,
    *,
    part: SimilarityTerm,
    threshold: float,
    max_targets: int,
) -> ResolvedTargets:
    """Resolve targets to detections of the unmasked image, by default all, or to boxes that the client gives.

    Args:
        black_box: the detector.
        detections: everything that it proposes for the unmasked image, one image.
        requested: `top:N`, labels and boxes, or None.
        transform: between pixels of the image and of the model's input.
        part: which part of the similarity is explained.
        threshold: confidence from which a proposal is a detection.
        max_targets: detections that are explained at most unless asked for one by one.

    Raises:
        RiseError: `no-target` where the model finds nothing that was asked for.
    """
    if requested is None or isinstance(requested, str):
        limit = max_targets if requested is None else int(requested.removeprefix("top:"))
        objects = distinct_detections(black_box, detections, transform, threshold=threshold, limit=limit)
        if not objects:
            raise _no_target(black_box, detections, transform, threshold)
    else:
        objects = [
            _requested(black_box, detections, transform, target, index) for index, target in enumerate(requested)
        ]
    boxes, classes = (
        torch.stack([detection.box for detection in objects]),
        torch.stack([detection.classes for detection in objects]),
    )

    def score(outputs: Detections) -> Tensor:
        proposed = (outputs.boxes_xyxy, outputs.classes, outputs.objectness)
        return similarity(boxes, classes, proposed, part=part)

    scores = score(detections)[0].tolist()
    targets = [_result(index, detection, scores[index], part) for index, detection in enumerate(objects)]
    return ResolvedTargets(targets, [], list(range(len(targets))), score, match=_MATCH)


def _result(index: int, detection: DetectedObject, score: float, part: SimilarityTerm) -> TargetResult:
    any_class = bool(detection.classes.isnan().any())
    return TargetResult(
        index=index,
        label=None if any_class else detection.prediction.label,
        name=None if any_class else detection.prediction.name,
        score=detection.prediction.score if part == "whole" and detection.prediction.score >= 0 else score,
        box=detection.prediction.box,
    )


def _requested(
    black_box: Detector, detections: Detections, transform: CoordinateTransform, target: TargetSpec, index: int
) -> DetectedObject:
    """Return what a client asked for: a box with or without a class, or the strongest detection of a class."""
    label = None if target.label is None else class_index(black_box.labels, target.label, index)
    if target.box is None:
        objects = distinct_detections(black_box, detections, transform, threshold=0.0, limit=_CANDIDATES)
        named = [detection for detection in objects if detection.prediction.label == label]
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
    box = torch.tensor(transform.to_input(target.box), device=device)
    shown = Prediction(label=label or 0, name=black_box.labels[label or 0], score=-1.0, box=target.box)
    return DetectedObject(shown, box, classes)


def _no_target(
    black_box: Detector, detections: Detections, transform: CoordinateTransform, threshold: float
) -> RiseError:
    strongest = distinct_detections(black_box, detections, transform, threshold=0.0, limit=1)
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
