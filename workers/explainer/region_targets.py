"""Targets of a segmentation model: a class in the region where the unmasked image has it, or in a box.

The score of a target is the mean probability of its class over its region, which stays where it is while the image is
masked. Source of the idea: Vinogradova, Dibrov, Myers, Towards Interpretable Semantic Segmentation via
Gradient-weighted Class Activation Mapping, AAAI 2020, arXiv 2002.11434 (a set of pixels as the target).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.schemas import Box, Prediction, TargetResult, TargetSpec
from workers.blackbox import Classifier, Segmenter
from workers.blackbox.preprocessing import CoordinateTransform
from workers.explainer.targets import (
    ClassScore,
    RequestedTargets,
    ResolvedTargets,
    class_index,
    probabilities,
    resolve_class_targets,
)

_BACKGROUND = {"background", "__background__", "_background_", "unlabeled", "unlabelled", "void", "other"}
_HALF = 0.5  # probability from which a place has the class of a model that has one class only


class Region(NamedTuple):
    """Where a class is in an image.

    Attributes:
        label: the class.
        places: `[h, w]`, true inside.
        box: around them, or as requested, in pixels of the image.
    """

    label: int
    places: Tensor
    box: Box


def regions_of(black_box: Segmenter, scores: Tensor, transform: CoordinateTransform) -> list[Region]:
    """Return the region of each class that is anywhere in an image, the largest first, background last.

    Args:
        black_box: the model.
        scores: probabilities for the unmasked image, `[C, h, w]`.
        transform: between pixels of the image and of the model's input.
    """
    winners = scores.argmax(0)
    found = []
    for label in torch.unique(winners).tolist() if len(scores) > 1 else [0]:
        places = winners == label if len(scores) > 1 else scores[0] > _HALF
        if bool(places.any()):
            found.append(Region(label, places, _box_around(places, transform)))
    return sorted(found, key=lambda region: (_is_background(black_box, region), -int(region.places.sum())))


def region_predictions(
    black_box: Segmenter, outputs: Tensor, transform: CoordinateTransform, *, limit: int
) -> list[Prediction]:
    """Return the classes in an image, the largest region first, each with its mean probability there and its box."""
    scores = probabilities(black_box, outputs)[0]
    return [
        Prediction(
            label=region.label,
            name=black_box.labels[region.label],
            score=float(scores[region.label][region.places].mean()),
            box=region.box,
        )
        for region in regions_of(black_box, scores, transform)[:limit]
    ]


def resolve_scored_targets(
    black_box: Classifier | Segmenter,
    outputs: Tensor,
    requested: RequestedTargets,
    transform: CoordinateTransform,
    *,
    what: ClassScore,
    numbers_per_class: int | None,
) -> ResolvedTargets:
    """Resolve targets of a classifier to classes, those of a segmentation model to classes in regions.

    Arguments and errors are those of `resolve_class_targets` and `resolve_region_targets`.
    """
    if isinstance(black_box, Segmenter):
        return resolve_region_targets(black_box, outputs, requested, transform, what=what)
    return resolve_class_targets(black_box, outputs, requested, what=what, numbers_per_class=numbers_per_class)


def resolve_region_targets(
    black_box: Segmenter,
    outputs: Tensor,
    requested: RequestedTargets,
    transform: CoordinateTransform,
    *,
    what: ClassScore,
) -> ResolvedTargets:
    """Resolve targets to classes in regions, by default to the class with the largest region that is no background.

    Args:
        black_box: the segmentation model.
        outputs: its raw outputs on the unmasked image, `[1, C, h, w]`.
        requested: `top:N` (by size), labels and boxes, or None.
        transform: between pixels of the image and of the model's input.
        what: which score of a class; the logit is that of the mean probability.

    Raises:
        RiseError: `unknown-name` for a label that the model does not have; `no-target` for a class that is nowhere in
            the image, or a box without a place in it; `model-failed` for scores that are not finite numbers.
    """
    scores = probabilities(black_box, outputs)[0]
    if not bool(torch.isfinite(scores).all()):
        raise RiseError("model-failed", "the model's scores on the unmasked image are not finite numbers")
    present = regions_of(black_box, scores, transform)
    if requested is None or isinstance(requested, str):
        regions = present[: 1 if requested is None else int(requested.removeprefix("top:"))]
    else:
        regions = [
            _requested(black_box, scores, present, target, transform, place) for place, target in enumerate(requested)
        ]
    if not regions:
        raise RiseError("no-target", f"the model sees no {black_box.labels[0]!r} in this image")
    weights = torch.stack([region.places.float() / region.places.sum() for region in regions])
    labels = torch.tensor([region.label for region in regions], device=scores.device)

    def probability(outputs: Tensor) -> Tensor:
        return torch.einsum("brhw,rhw->br", probabilities(black_box, outputs)[:, labels], weights)

    def score(outputs: Tensor) -> Tensor:
        return probability(outputs) if what == "probability" else probability(outputs).logit(eps=1e-6)

    means = torch.einsum("rhw,rhw->r", scores[labels], weights).tolist()
    targets = [
        TargetResult(
            index=index, label=region.label, name=black_box.labels[region.label], score=means[index], box=region.box
        )
        for index, region in enumerate(regions)
    ]
    return ResolvedTargets(targets, [], list(range(len(targets))), score, probability=probability)


def _requested(
    black_box: Segmenter,
    scores: Tensor,
    present: list[Region],
    target: TargetSpec,
    transform: CoordinateTransform,
    index: int,
) -> Region:
    label = None if target.label is None else class_index(black_box.labels, target.label, index)
    if target.box is not None:
        places = _places_in(target.box, scores.shape[-2:], transform).to(scores.device)
        if not bool(places.any()):
            raise RiseError("no-target", "the box has no place in what the model is shown of this image")
        strongest = int(scores[:, places].mean(1).argmax()) if label is None else label
        return Region(strongest, places, target.box)
    for region in present:
        if region.label == label:
            return region
    name = black_box.labels[label or 0]
    raise RiseError("no-target", f"the model sees no {name!r} in this image; give a box to explain why not there")


def _is_background(black_box: Segmenter, region: Region) -> bool:
    return black_box.labels[region.label].lower() in _BACKGROUND


def _box_around(places: Tensor, transform: CoordinateTransform) -> Box:
    """Return the box around places `[h, w]`, in pixels of the image."""
    rows, columns = (places.any(axis).nonzero().flatten() for axis in (1, 0))
    down, across = (side / count for side, count in zip(transform.size, places.shape, strict=True))
    corners = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    return transform.to_image((corners[0] * across, corners[1] * down, corners[2] * across, corners[3] * down))


def _places_in(box: Box, shape: torch.Size, transform: CoordinateTransform) -> Tensor:
    """Return the places `[h, w]` whose centre lies in a box of the image."""
    x0, y0, x1, y1 = transform.to_input(box)
    height, width = shape
    x = (torch.arange(width) + 0.5) * transform.size[1] / width
    y = (torch.arange(height) + 0.5) * transform.size[0] / height
    return ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))[None]
