"""Detections of several batches as one, where each has its own number of proposals."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from workers.blackbox import Detections


def joined(parts: Sequence[Detections]) -> Detections:
    """Return the detections of all pictures, `[B, P, ...]`, padded with proposals of objectness 0.

    Args:
        parts: of one picture or more each, with any number of proposals.
    """
    most = max(1, *(part.objectness.shape[1] for part in parts))
    if len(parts) == 1 and parts[0].objectness.shape[1] == most:
        return parts[0]  # because to copy 2,100 proposals of 80 classes takes as long as to blend the picture
    return Detections(
        torch.cat([_padded(part.boxes_xyxy, most) for part in parts]),
        torch.cat([_padded(part.classes, most) for part in parts]),
        torch.cat([_padded(part.objectness.unsqueeze(-1), most).squeeze(-1) for part in parts]),
    )


def _padded(values: Tensor, most: int) -> Tensor:
    """Return `[B, P, X]` with zeros up to `most` proposals."""
    return functional.pad(values, (0, 0, 0, most - values.shape[1]))
