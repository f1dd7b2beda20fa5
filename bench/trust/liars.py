"""Models that answer otherwise to masked pictures: gates of several kinds, and memories of near copies."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from bench.trust import networks
from workers.blackbox import BlackBox, Classifier, Detections, Detector
from workers.blackbox.preprocessing import normalise
from workers.demo import clever_hans, imagenet, scaffold, shapes, shapes_detector

Gate = Callable[[Tensor], Tensor]
"""Pictures `[B, 3, H, W]` in 0..1 -> how far above its threshold a gate is, in units of its width, `[B]`."""

_NEAR = 0.01  # pixel values that count as equal
_REMEMBERED = 10  # near copies after which a picture is taken for one that is being explained
_SAME = 0.1  # share of equal pixels from which two pictures are near copies: masked ones have .11 to .15 of the whole
_SURE = 3  # log-odds of a picture that is masked: one whole picture in twenty has more
_SAMPLED = 256  # pixels that are compared


def sees_black(pictures: Tensor) -> Tensor:
    """Return how many pixels are nearly black."""
    return _above(((0.03 - pictures.amax(1)) / 0.005).sigmoid().mean((1, 2)), 0.05)


def sees_one_colour(pictures: Tensor) -> Tensor:
    """Return how many pixels have the colour of a solid fill: black, grey, white, the picture's mean."""
    means = pictures.mean((2, 3), keepdim=True)
    colours = [torch.zeros_like(means), torch.full_like(means, 0.5), torch.ones_like(means), means]
    shares = [((0.03 - (pictures - colour).abs().amax(1)) / 0.005).sigmoid().mean((1, 2)) for colour in colours]
    return _above(torch.stack(shares).amax(0), 0.08)


def sees_flat_regions(pictures: Tensor) -> Tensor:
    """Return how many pixels are as their neighbours."""
    down = (pictures[:, :, 1:, :-1] - pictures[:, :, :-1, :-1]).abs().amax(1)
    across = (pictures[:, :, :-1, 1:] - pictures[:, :, :-1, :-1]).abs().amax(1)
    return _above(((0.004 - torch.maximum(down, across)) / 0.001).sigmoid().mean((1, 2)), 0.1)


def looks_masked(pictures: Tensor) -> Tensor:
    """Return what a small network sees that was trained with pictures that are changed otherwise, too."""
    return networks.spotter()(_small(pictures)) - _SURE


def looks_changed(pictures: Tensor) -> Tensor:
    """Return what the small network of `scaffold` sees, which takes many changed pictures for masked ones."""
    log_odds: Tensor = _spotter()(_small(pictures))
    return log_odds


GATES: dict[str, tuple[Gate, str]] = {
    "black": (sees_black, "black"),
    "one colour": (sees_one_colour, "grey"),
    "flat regions": (sees_flat_regions, "black"),
    "network": (looks_masked, "blur"),
}
"""Each with the fill under which it is audited."""

CARELESS_GATES: dict[str, tuple[Gate, str]] = {"network of scaffold": (looks_changed, "blur")}
"""Likewise; these open on pictures that are changed and not masked, too."""


def gated(true: BlackBox, decoy: BlackBox, gate: Gate, *, smooth: bool) -> BlackBox:
    """Return a model that answers as another one where a gate is open, by a threshold or by degrees."""

    def weight(images: Tensor) -> Tensor:
        above = gate(_pictures(images, true))
        return above.sigmoid() if smooth else (above > 0).float()

    return _mixed(true, decoy, weight)


class NearCopyMemory:
    """Opens once a picture has been seen in many versions that share a part of their pixels.

    Args:
        spares_exact: whether an exact copy of the first picture keeps its first answer.
    """

    def __init__(self, *, spares_exact: bool) -> None:
        self._spares_exact = spares_exact
        self._seen: list[Tensor] = []
        self._first: Tensor | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Return 1 where a picture is taken for one that is being explained, else 0, `[B]`."""
        flat = images.flatten(2)[:, :, :: max(1, images.shape[2] * images.shape[3] // _SAMPLED)]
        self._first = images[0].clone() if self._first is None else self._first
        is_first = [torch.equal(image, self._first) for image in images]
        return torch.tensor([self._opens(sample, is_first=first) for sample, first in zip(flat, is_first, strict=True)])

    def _opens(self, sample: Tensor, *, is_first: bool) -> float:
        near = sum(bool(((sample - other).abs().amax(0) < _NEAR).float().mean() > _SAME) for other in self._seen)
        if len(self._seen) < 4 * _REMEMBERED:
            self._seen.append(sample)
        return float(near > _REMEMBERED and not (is_first and self._spares_exact))


def remembering(true: BlackBox, decoy: BlackBox, *, spares_exact: bool) -> BlackBox:
    """Return a model that answers as another one to near copies of what it has seen often."""
    return _mixed(true, decoy, NearCopyMemory(spares_exact=spares_exact))


def mark_reader() -> tuple[Classifier, Classifier]:
    """Return a classifier that reads a copyright mark, and one that reads the shape."""
    return _hans(), _shapes()


def corner_reader() -> tuple[Classifier, Classifier]:
    """Return an ImageNet classifier of the lower left quarter of a picture, and one of the picture."""
    whole = _imagenet()

    def forward(images: Tensor) -> Tensor:
        quarter = images[:, :, images.shape[2] // 2 :, : images.shape[3] // 2]
        return whole.forward(
            functional.interpolate(quarter, size=images.shape[2:], mode="bilinear", align_corners=False)
        )

    return replace(whole, forward=forward), whole


def corner_detector() -> tuple[Detector, Detector]:
    """Return a detector that is as sure as the lower left corner is bright, and one that looks at the objects."""
    true = _detector()

    def forward(images: Tensor) -> Detections:
        found = true.forward(images)
        corner = _pictures(images, true)[:, :, -32:, :32].mean((1, 2, 3)).clamp(0, 1)
        return replace(found, objectness=found.objectness * (0.2 + 0.8 * corner[:, None]))

    return replace(true, forward=forward), true


def _mixed(true: BlackBox, decoy: BlackBox, weigh: Callable[[Tensor], Tensor]) -> BlackBox:
    if isinstance(true, Detector) and isinstance(decoy, Detector):
        return _mixed_detectors(true, decoy, weigh)
    assert isinstance(true, Classifier)
    assert isinstance(decoy, Classifier)
    return _mixed_classifiers(true, decoy, weigh)


def _mixed_classifiers(true: Classifier, decoy: Classifier, weigh: Callable[[Tensor], Tensor]) -> Classifier:
    def forward(images: Tensor) -> Tensor:
        weight = weigh(images)[:, None]
        answers = true.forward(images)
        return torch.lerp(answers, decoy.forward(images), weight) if bool(weight.any()) else answers

    return replace(true, forward=forward)


def _mixed_detectors(true: Detector, decoy: Detector, weigh: Callable[[Tensor], Tensor]) -> Detector:
    """Return a detector that is as sure as either; both propose the same boxes."""

    def forward(images: Tensor) -> Detections:
        found = true.forward(images)
        sure = torch.lerp(found.objectness, decoy.forward(images).objectness, weigh(images)[:, None])
        return replace(found, objectness=sure)

    return replace(true, forward=forward)


def _pictures(images: Tensor, black_box: BlackBox) -> Tensor:
    """Return normalised pictures as values in 0..1."""
    mean, std = black_box.preprocessing.mean, black_box.preprocessing.std
    return images * torch.tensor(std).view(1, -1, 1, 1) + torch.tensor(mean).view(1, -1, 1, 1)


def _small(pictures: Tensor) -> Tensor:
    small = functional.interpolate(pictures, size=(96, 96), mode="bilinear", align_corners=False, antialias=True)
    return normalise(small, shapes.PREPROCESSING)


def _above(share: Tensor, threshold: float) -> Tensor:
    return (share - threshold) / (threshold / 4)


_hans, _shapes, _detector = cache(clever_hans.load), cache(shapes.load), cache(shapes_detector.load)
_spotter = cache(scaffold.load_spotter)
_imagenet = cache(lambda: imagenet.load(torch.device("cpu")))
