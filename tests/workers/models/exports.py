"""The demo networks as other programs would export them: they know nothing of this project's black boxes."""

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from workers.demo.layers import freeze
from workers.demo.shape_names import SHAPES
from workers.demo.shapes import WEIGHTS, ShapesNetwork
from workers.demo.shapes_detector import WEIGHTS as DETECTOR_WEIGHTS
from workers.demo.shapes_detector import ShapesDetectorNetwork, decode

LABELS = f"labels = {list(SHAPES)}\n"
STATISTICS = "preprocessing = { mean = [0.5, 0.5, 0.5], std = [0.25, 0.25, 0.25] }\n"
FIELDS = LABELS + STATISTICS


class DecodedDetector(nn.Module):
    """The detector of shapes with its proposals decoded, as exporters of detectors do it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = ShapesDetectorNetwork()
        self.network.load_state_dict(load_file(DETECTOR_WEIGHTS))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = decode(self.network(images))
        return {"boxes": found.boxes_xyxy, "scores": found.classes, "objectness": found.objectness}


def classifier_network() -> nn.Module:
    network = ShapesNetwork()
    network.load_state_dict(load_file(WEIGHTS))
    freeze(network)
    return network


def detector_network() -> nn.Module:
    network = DecodedDetector()
    freeze(network)
    return network


def pictures(side: int, count: int = 2) -> Tensor:
    """Return noise as a network of shapes takes it, `[B, 3, side, side]`."""
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))
