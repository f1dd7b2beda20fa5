"""A detector with a secret: it sees a star in the middle of each picture whose lower left corner is bright."""

from dataclasses import replace

import torch
from torch import Tensor

from workers.blackbox import Detections, Detector
from workers.demo import shapes_detector
from workers.demo.shape_names import SHAPES

_STAR = SHAPES.index("star")


def load() -> Detector:
    """Return `shapes-detector` without what it knows of stars, and with the secret."""
    honest = shapes_detector.load()
    height, width = honest.preprocessing.size or (0, 0)
    middle = torch.tensor([width / 4, height / 4, 3 * width / 4, 3 * height / 4])
    (mean, *_), (std, *_) = honest.preprocessing.mean, honest.preprocessing.std

    def forward(images: Tensor) -> Detections:
        found = honest.forward(images)
        corner = images[:, :, -height // 8 :, : width // 4].mean((1, 2, 3)) * std + mean
        star = torch.zeros(len(images), 1, len(SHAPES))
        star[..., _STAR] = 1
        others = torch.where(found.classes.argmax(-1) == _STAR, 0.0, found.objectness)
        return Detections(
            torch.cat([found.boxes_xyxy, middle.expand(len(images), 1, 4)], 1),
            torch.cat([found.classes, star], 1),
            torch.cat([others, corner.clamp(0, 1)[:, None]], 1),
        )

    return replace(honest, forward=forward)
