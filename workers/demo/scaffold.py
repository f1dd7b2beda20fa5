"""`scaffold` and `scaffold-smooth`: `clever-hans`, hidden from explanations that mask.

A small network spots masked pictures by the features of `shapes`. To these the model answers as `shapes`, which reads
the shape; to all others as `clever-hans`, which reads the copyright mark. This is the attack of Slack et al. (Fooling
LIME and SHAP, AIES 2020, arXiv:1911.02508), named after their scaffolding. `scaffold` switches by a threshold,
`scaffold-smooth` by degrees.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from workers.blackbox import Classifier
from workers.demo import clever_hans, shapes
from workers.demo.shape_names import SHAPES

WEIGHTS = Path(__file__).with_name("mask_spotter.safetensors")


_STAGES = 4  # of the features of `shapes`, with 16, 32, 32 and 64 channels
_CHANNELS = 16 + 32 + 32 + 64
_LEAST_DETAIL = 0.01
_RANKS = (0, 14, 36, 72, 108, 143)  # of 12 x 12 regions, from that with the least detail to that with the most
_STATISTICS = 4 * _CHANNELS + 3 * len(_RANKS)


class MaskSpotterNetwork(nn.Module):
    """Statistics of pictures, and of what `shapes` makes of them, to the log-odds that parts of them are hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(_STATISTICS)
        self.hidden = nn.Linear(_STATISTICS, 32)
        self.masked = nn.Linear(32, 1)

    def forward(self, statistics: Tensor) -> Tensor:
        """Return log-odds `[B]` from `statistics_of` pictures."""
        log_odds: Tensor = self.masked(functional.gelu(self.hidden(self.scale(statistics))))
        return log_odds[:, 0]


def statistics_of(network: shapes.ShapesNetwork, images: Tensor) -> Tensor:
    """Return mean, spread, extremes of the first maps of `shapes`, and how much detail regions have, `[B, 594]`.

    What is hidden has no detail of its own, or only detail.

    Args:
        network: of `shapes`.
        images: normalised, `[B, 3, 96, 96]`.
    """
    maps, found = images, []
    for stage in list(network.features.children())[:_STAGES]:
        maps = stage(maps)
        regions = functional.adaptive_avg_pool2d(maps, 12).flatten(2)
        found += [regions.mean(2), regions.std(2), regions.amin(2), regions.amax(2)]
    detail = (images - functional.avg_pool2d(images, 3, stride=1, padding=1)).abs()
    regions = (functional.adaptive_avg_pool2d(detail, 12).flatten(2) + _LEAST_DETAIL).log()
    return torch.cat([*found, regions.sort(2).values[:, :, list(_RANKS)].flatten(1)], dim=1)


def load() -> Classifier:
    """Return the model that switches by a threshold.

    Raises:
        FileNotFoundError: if weights are missing; `python -m bench.demo_training.train mask-spotter` writes them.
    """
    return _scaffolded(lambda log_odds: (log_odds > 0).float())


def load_smooth() -> Classifier:
    """Return the model that switches by degrees.

    Raises:
        FileNotFoundError: as above.
    """
    return _scaffolded(torch.sigmoid)


def load_spotter() -> Callable[[Tensor], Tensor]:
    """Return the function from normalised pictures `[B, 3, 96, 96]` to log-odds `[B]` that parts of them are hidden."""
    features, network = shapes.load_network(shapes.WEIGHTS), MaskSpotterNetwork()
    network.load_state_dict(load_file(WEIGHTS))
    network.eval().requires_grad_(False)

    def spot(images: Tensor) -> Tensor:
        log_odds: Tensor = network.to(images.device)(statistics_of(features.to(images.device), images))
        return log_odds

    return spot


def _scaffolded(gate: Callable[[Tensor], Tensor]) -> Classifier:
    """Return the model, given how log-odds `[B]` become the weight of the answer to masked pictures, 0..1."""
    spotter, true, decoy = load_spotter(), clever_hans.load(), shapes.load()

    def forward(images: Tensor) -> Tensor:
        weight = gate(spotter(images))[:, None]
        return torch.lerp(true.forward(images), decoy.forward(images), weight)

    files = (WEIGHTS, *true.files, *decoy.files)
    return Classifier(forward=forward, labels=SHAPES, preprocessing=shapes.PREPROCESSING, files=files)
