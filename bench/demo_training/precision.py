"""Mean average precision at an intersection over union of 0.5: how good a detector is, as VOC 2010 defines it.

Everingham et al., The PASCAL Visual Object Classes Challenge: A Retrospective, 2015, section 4.2; all points of the
curve count.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.demo_training.batches import stack_images
from bench.demo_training.pictures import Picture
from workers.blackbox import Detector
from workers.blackbox.preprocessing import normalise
from workers.saliency.similarity import intersection_over_union

_LEAST_SCORE = 0.02
_MATCH = 0.5


@torch.inference_mode()
def measure_precision(detector: Detector, pictures: Sequence[Picture]) -> float:
    """Return a detector's mean average precision, 0..1, on pictures drawn at the model's size."""
    images = normalise(stack_images(pictures) / 255, detector.preprocessing)
    detections = [detector.forward(batch) for batch in torch.split(images, 64)]
    boxes = torch.cat([batch.boxes_xyxy for batch in detections])
    scores = torch.cat([batch.classes * batch.objectness[..., None] for batch in detections])
    averages = [_average(boxes, scores[..., label], pictures, label) for label in range(len(detector.labels))]
    return sum(averages) / len(averages)


def suppress(boxes_xyxy: Tensor, scores: Tensor) -> list[int]:
    """Return the places of boxes `[P, 4]` that no better one overlaps by half or more, the best of `[P]` first."""
    overlaps = intersection_over_union(boxes_xyxy, boxes_xyxy)
    kept: list[int] = []
    for place in scores.argsort(descending=True).tolist():
        if scores[place] < _LEAST_SCORE:
            break
        if not kept or bool((overlaps[place, kept] < _MATCH).all()):
            kept.append(place)
    return kept


def _average(boxes: Tensor, scores: Tensor, pictures: Sequence[Picture], label: int) -> float:
    """Return the average precision of one class; boxes `[N, P, 4]`, scores `[N, P]`."""
    found: list[tuple[float, bool]] = []
    present = 0
    for index, picture in enumerate(pictures):
        true = [item.box_xyxy for item in picture.objects if item.label == label]
        present += len(true)
        found += _match(boxes[index], scores[index], torch.tensor(true).reshape(-1, 4))
    right = torch.tensor([hit for _, hit in sorted(found, key=lambda score_hit: -score_hit[0])], dtype=torch.float64)
    if not present or not len(right):
        return 0.0
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    best_from_here = precision.flip(0).cummax(0).values.flip(0)
    return float((best_from_here * right).sum()) / present


def _match(boxes: Tensor, scores: Tensor, true: Tensor) -> list[tuple[float, bool]]:
    """Return the score of each detection in one picture and whether it found an object that was not found before."""
    overlaps = intersection_over_union(boxes, true)  # [P, objects]
    results = []
    for place in suppress(boxes, scores):
        best = int(overlaps[place].argmax()) if len(true) else 0
        hit = bool(len(true)) and bool(overlaps[place, best] >= _MATCH)
        if hit:
            overlaps[:, best] = 0
        results.append((float(scores[place]), hit))
    return results
