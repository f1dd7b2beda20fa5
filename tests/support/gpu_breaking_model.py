"""A model for the loader `python` that breaks a GPU as soon as part of a picture is hidden."""

from dataclasses import replace

import torch
from torch import Tensor

from workers.blackbox import BlackBox
from workers.demo import shapes

_MANY = 8  # pictures at once: more than a look at the whole one, fewer than a batch of masked ones


def load() -> BlackBox:
    """Return `shapes` with a table that is too short for what is looked up in it."""
    black_box = shapes.load()
    well = black_box.forward

    def forward(images: Tensor) -> Tensor:
        scores: Tensor = well(images)
        hidden = (images.flatten(1).std(1) < images.flatten(1).std(1).amax()).long()
        table = torch.zeros(1, device=images.device)
        return scores + table[hidden * (len(images) > _MANY)].unsqueeze(1)

    return replace(black_box, forward=forward)
