"""`shapes`: a classifier of six drawn shapes, small enough for thousands of masked images per second.

A residual network of eight convolutions on pictures of 96 × 96 pixels. It was trained on masked pictures too, so that
hidden parts lower a score gradually.
"""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from workers.blackbox import Classifier, Preprocessing
from workers.demo.layers import Convolution, Residual, freeze, lay_out
from workers.demo.shape_names import SHAPES

WEIGHTS = Path(__file__).with_name("shapes.safetensors")
PREPROCESSING = Preprocessing(size=(96, 96), resize="stretch", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class ShapesNetwork(nn.Module):
    """Pictures to one raw score per shape."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            Convolution(3, 16, stride=2),  # [B, 16, 48, 48]
            Convolution(16, 32, stride=2),  # [B, 32, 24, 24]
            Residual(32),
            Convolution(32, 64, stride=2),  # [B, 64, 12, 12]
            Residual(64),
            Convolution(64, 96, stride=2),  # [B, 96, 6, 6]
        )
        self.scores = nn.Linear(96, len(SHAPES))

    def forward(self, images: Tensor) -> Tensor:
        """Return raw scores `[B, 6]` of normalised pictures `[B, 3, 96, 96]`."""
        scores: Tensor = self.scores(self.features(images).amax(dim=(2, 3)))
        return scores


def load() -> Classifier:
    """Return the trained classifier.

    Raises:
        FileNotFoundError: if `shapes.safetensors` is missing; `python -m bench.demo_training.train shapes` writes it.
    """
    return load_classifier(WEIGHTS)


def load_classifier(weights: Path) -> Classifier:
    """Return a classifier of shapes with the weights of one file; it computes on the device of its input."""
    return replace(_classifier(load_network(weights)), files=(weights,), randomised=_with_random_weights)


def load_network(weights: Path) -> ShapesNetwork:
    """Return a trained network with the weights of one file."""
    network = ShapesNetwork()
    network.load_state_dict(load_file(weights))
    freeze(network)
    lay_out(network)
    return network


def _with_random_weights(seed: int) -> Classifier:
    """Return an untrained classifier of the same architecture, for sanity checks of maps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ShapesNetwork()
    return _classifier(network.eval().requires_grad_(False))


def _classifier(network: nn.Module) -> Classifier:
    def forward(images: Tensor) -> Tensor:
        scores: Tensor = network.to(images.device)(images)
        return scores

    return Classifier(forward=forward, labels=SHAPES, preprocessing=PREPROCESSING, network=network)
