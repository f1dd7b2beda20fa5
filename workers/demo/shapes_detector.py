"""`shapes-detector`: finds drawn shapes and gives every raw proposal, as D-RISE needs (Petsiuk et al. 2021).

One stage, no anchors: each cell of a 16 × 16 grid proposes one box by its distances to the four sides, as in FCOS
(Tian et al. 2019, arXiv:1904.01355, section 3.1), with an objectness that peaks at centres of objects, as in CenterNet
(Zhou et al. 2019, arXiv:1904.07850, section 3). Nothing is dropped or suppressed here.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from workers.blackbox import Detections, Detector, Preprocessing
from workers.demo.layers import Convolution, Residual, freeze, lay_out
from workers.demo.shape_names import SHAPES

WEIGHTS = Path(__file__).with_name("shapes_detector.safetensors")
PREPROCESSING = Preprocessing(size=(128, 128), resize="stretch", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
STRIDE = 8


class ShapesDetectorNetwork(nn.Module):
    """Pictures to one raw proposal per cell of 8 × 8 pixels: objectness, box and scores of the shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.near = nn.Sequential(
            Convolution(3, 16, stride=2),  # [B, 16, 64, 64]
            Convolution(16, 32, stride=2),  # [B, 32, 32, 32]
            Residual(32),
            Convolution(32, 64, stride=2),  # [B, 64, 16, 16]
            Residual(64),
        )
        self.far = nn.Sequential(
            Convolution(64, 80, stride=2),  # [B, 80, 8, 8]
            Residual(80),
            nn.Conv2d(80, 64, 1),
        )
        self.proposals = nn.Sequential(Convolution(64, 64), nn.Conv2d(64, 1 + 4 + len(SHAPES), 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return raw proposals `[B, 256, 1 + 4 + 6]` of normalised pictures `[B, 3, 128, 128]`, row by row."""
        near: Tensor = self.near(images)
        far = functional.interpolate(self.far(near), scale_factor=2.0)
        proposals: Tensor = self.proposals(near + far)  # [B, 11, 16, 16]
        return proposals.flatten(2).transpose(1, 2)


def load() -> Detector:
    """Return the trained detector; it computes on the device of its input.

    Raises:
        FileNotFoundError: if the weights are missing; `python -m bench.demo_training.train shapes-detector` writes
        them.
    """
    network = ShapesDetectorNetwork()
    network.load_state_dict(load_file(WEIGHTS))
    freeze(network)
    lay_out(network)

    def forward(images: Tensor) -> Detections:
        return decode(network.to(images.device)(images))

    return Detector(forward=forward, labels=SHAPES, preprocessing=PREPROCESSING, files=(WEIGHTS,))


def decode(proposals: Tensor) -> Detections:
    """Turn raw proposals `[B, 256, 1 + 4 + 6]` into boxes in pixels of the model's input and scores in 0..1."""
    objectness, distances, scores = torch.split(proposals, [1, 4, len(SHAPES)], dim=2)
    centres = cell_centres(proposals.device)
    to_top_left, to_bottom_right = (distances.clamp(max=4).exp() * STRIDE).chunk(2, dim=2)
    boxes_xyxy = torch.cat([centres - to_top_left, centres + to_bottom_right], dim=2)
    return Detections(boxes_xyxy, scores.softmax(dim=2), objectness[..., 0].sigmoid())


def cell_centres(device: torch.device) -> Tensor:
    """Return where the cells of the grid lie, `[256, 2]` as x, y in pixels of the model's input, row by row."""
    rows, columns = (torch.arange(side // STRIDE, device=device) + 0.5 for side in (128, 128))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1) * STRIDE
