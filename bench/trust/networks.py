"""Two networks that never saw a mask, trained once on the drawn shapes and kept in `build/bench/trust/`.

A copy of `shapes`, and a small vision transformer (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929). Seeded: the same
versions on the same machine train the same networks.
"""

from collections.abc import Callable
from functools import cache

import torch
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.demo_training.batches import draw_training_pictures, stack_images
from bench.demo_training.train import ONE_OBJECT
from bench.reference import STORE
from workers.blackbox import Classifier
from workers.blackbox.preprocessing import normalise
from workers.demo.layers import freeze, lay_out
from workers.demo.shape_names import SHAPES
from workers.demo.shapes import PREPROCESSING, ShapesNetwork

_FOLDER = STORE / "trust"
_SEED = 31
_PICTURES = 5_000
_MIRRORED = 0.5
_BATCH = 64
_PATCH = 12
_WIDTH = 64


class PatchTransformer(nn.Module):
    """Pictures to one raw score per shape, by attention between 64 patches of 12 x 12 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, _WIDTH, _PATCH, stride=_PATCH)
        self.places = nn.Parameter(torch.zeros(1, (PREPROCESSING.size or (0, 0))[0] ** 2 // _PATCH**2, _WIDTH))
        layer = nn.TransformerEncoderLayer(
            _WIDTH, 4, 2 * _WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.scores = nn.Linear(_WIDTH, len(SHAPES))

    def forward(self, images: Tensor) -> Tensor:
        """Return raw scores `[B, 6]` of normalised pictures `[B, 3, 96, 96]`."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.places
        scores: Tensor = self.scores(self.blocks(tokens).mean(1))
        return scores


@cache
def without_masks() -> Classifier:
    """Return the network of `shapes`, trained on whole pictures only."""
    network = _trained("shapes", ShapesNetwork, epochs=8, rate=6e-3)
    freeze(network)
    lay_out(network)
    return _classifier(network)


@cache
def transformer() -> Classifier:
    """Return the vision transformer, trained on whole pictures only."""
    return _classifier(_trained("transformer", PatchTransformer, epochs=16, rate=2e-3).eval().requires_grad_(False))


def _classifier(network: nn.Module) -> Classifier:
    return Classifier(forward=network, labels=SHAPES, preprocessing=PREPROCESSING)


def _trained(name: str, build: Callable[[], nn.Module], *, epochs: int, rate: float) -> nn.Module:
    path = _FOLDER / f"{name}.safetensors"
    if not path.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        network = _train(build, epochs=epochs, rate=rate)
        save_file({key: weight.contiguous() for key, weight in network.state_dict().items()}, path)
    network = build()
    network.load_state_dict(load_file(path))
    return network


def _pictures() -> tuple[Tensor, Tensor]:
    """Return pictures of one shape as bytes `[N, 3, 96, 96]`, and their classes `[N]`."""
    path = _FOLDER / "pictures.safetensors"
    if not path.exists():
        drawn = draw_training_pictures(ONE_OBJECT, _PICTURES, seed=_SEED)
        labels = torch.tensor([picture.objects[0].label for picture in drawn])
        save_file({"images": stack_images(drawn), "labels": labels}, path)
    kept = load_file(path)
    return kept["images"], kept["labels"]


def _train(build: Callable[[], nn.Module], *, epochs: int, rate: float) -> nn.Module:
    images, labels = _pictures()
    torch.manual_seed(_SEED)
    generator = Generator().manual_seed(_SEED)
    network = build().train()
    steps = epochs * (_PICTURES // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    for _ in range(epochs):
        order = torch.randperm(_PICTURES, generator=generator)[: _PICTURES // _BATCH * _BATCH]
        for rows in torch.split(order, _BATCH):
            shown = images[rows].flip(-1) if torch.rand((), generator=generator) < _MIRRORED else images[rows]
            loss = functional.cross_entropy(network(normalise(shown / 255, PREPROCESSING)), labels[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            cycle.step()
    return network
