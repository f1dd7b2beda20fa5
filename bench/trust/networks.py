"""Networks that are trained once and kept in `build/bench/trust/`: two that never saw a mask, and one that spots masks.

The former are a copy of `shapes` and a transformer. The spotter is that of `scaffold`, but also shown pictures that are
changed and not masked. Seeded: the same versions on the same machine train the same networks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor, nn
from torch.nn import functional

from bench.demo_training import mask_spotter_lessons
from bench.demo_training.backgrounds import Pixels
from bench.demo_training.batches import draw_training_pictures, stack_images
from bench.demo_training.pictures import Picture
from bench.demo_training.train import BIASED_OBJECT, ONE_OBJECT, SEVERAL_OBJECTS
from bench.reference import STORE
from bench.trust.transformer import CompactTransformer
from workers.blackbox import Classifier
from workers.blackbox.preprocessing import normalise
from workers.demo import shapes
from workers.demo.layers import freeze, lay_out
from workers.demo.scaffold import MaskSpotterNetwork, statistics_of
from workers.demo.shape_names import SHAPES
from workers.demo.shapes import PREPROCESSING, ShapesNetwork

_FOLDER = STORE / "trust"
_SEED = 31
_PICTURES = 5_000
_SPOTTED = 1_500  # of each of two kinds
_MIRRORED = 0.5
_MOVED = 0.1
_SHRUNK = (64, 64)
_BATCH = 64


@cache
def without_masks() -> Classifier:
    """Return the network of `shapes`, trained on whole pictures only: 90 % right on 1,000 held-out ones."""
    network = _trained("shapes", ShapesNetwork, _Course(epochs=8, rate=6e-3, vary=_mirrored))
    freeze(network)
    lay_out(network)
    return Classifier(forward=network, labels=SHAPES, preprocessing=PREPROCESSING)


@cache
def transformer_without_masks() -> Classifier:
    """Return a compact convolutional transformer, trained on the same pictures: 96 % right on the held-out ones."""
    network = _trained("transformer", CompactTransformer, _Course(epochs=32, rate=2e-3, vary=_shifted_and_shrunk))
    freeze(network)
    return Classifier(forward=network, labels=SHAPES, preprocessing=replace(PREPROCESSING, size=_SHRUNK))


@cache
def spotter() -> Callable[[Tensor], Tensor]:
    """Return the function from normalised pictures `[B, 3, 96, 96]` to log-odds `[B]` that parts of them are hidden."""
    path = _FOLDER / "spotter.safetensors"
    if not path.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        save_file(mask_spotter_lessons.teach(_changed_pictures(), seed=_SEED).state_dict(), path)
    features, network = shapes.load_network(shapes.WEIGHTS), MaskSpotterNetwork()
    network.load_state_dict(load_file(path))
    network.eval().requires_grad_(False)

    def spot(images: Tensor) -> Tensor:
        log_odds: Tensor = network(statistics_of(features, images))
        return log_odds

    return spot


def _changed_pictures() -> list[Picture]:
    """Return pictures with the mark and with several objects, two thirds of them warped or cross-faded."""
    generator = np.random.default_rng(_SEED)
    found = []
    for recipe in (BIASED_OBJECT, SEVERAL_OBJECTS):
        drawn = draw_training_pictures(recipe, _SPOTTED, seed=_SEED)
        images = [_small(picture.image) for picture in drawn]
        for number, (picture, image) in enumerate(zip(drawn, images, strict=True)):
            change = (_as_it_is, _faded, _warped)[number % 3]
            found.append(replace(picture, image=change(generator, image, images)))
    return found


def _small(image: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(image).resize(PREPROCESSING.size or (0, 0), Image.Resampling.BILINEAR))


def _as_it_is(_: np.random.Generator, image: Pixels, __: list[Pixels]) -> Pixels:
    return image


def _faded(generator: np.random.Generator, image: Pixels, images: list[Pixels]) -> Pixels:
    """Return a cross-fade of an image to itself, moved or mirrored, or to another one."""
    moved = np.roll(image, generator.integers(-24, 25, 2), (0, 1))
    other = (moved, image[:, ::-1], images[generator.integers(len(images))])[generator.integers(3)]
    place = generator.random()
    return ((1 - place) * image + place * other).round().astype(np.uint8)


def _warped(generator: np.random.Generator, image: Pixels, _: list[Pixels]) -> Pixels:
    """Return an image moved, turned, zoomed and rippled at random."""
    angle, zoom = generator.uniform(-math.pi, math.pi), math.exp(generator.uniform(-0.3, 0.3))
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    turn = torch.tensor([[cosine, -sine, generator.uniform(-0.5, 0.5)], [sine, cosine, generator.uniform(-0.5, 0.5)]])
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float()
    places = functional.affine_grid(turn[None], list(pixels.shape), align_corners=False)
    shift, waves = generator.uniform(0, 0.25), generator.uniform(3, 20)
    places = places + shift * (waves * places.flip(-1) + generator.uniform(0, 2 * math.pi)).sin()
    warped = functional.grid_sample(pixels, places, mode="bicubic", padding_mode="reflection", align_corners=False)
    return np.asarray(warped[0].clamp(0, 255).round().byte().permute(1, 2, 0).numpy())


@dataclass(frozen=True)
class _Course:
    """How a network is trained.

    Attributes:
        epochs: how often each picture is seen.
        rate: the largest one of learning.
        vary: changes a batch of pictures `[B, 3, 96, 96]` in 0..1 at random.
    """

    epochs: int
    rate: float
    vary: Callable[[Tensor, Generator], Tensor]


def _mirrored(images: Tensor, generator: Generator) -> Tensor:
    return images.flip(-1) if torch.rand((), generator=generator) < _MIRRORED else images


def _shifted_and_shrunk(images: Tensor, generator: Generator) -> Tensor:
    """Return pictures of the size of the transformer, each mirrored or not, zoomed and moved by a tenth at most."""
    small = functional.interpolate(images, size=_SHRUNK, mode="bilinear", align_corners=False, antialias=True)
    mirror, zoom, moved = (torch.rand(len(images), *more, generator=generator) for more in ((), (), (2,)))
    zoom = 1 + _MOVED * (2 * zoom - 1)
    scale = torch.stack([zoom * torch.where(mirror < _MIRRORED, -1, 1), zoom], 1)
    places = torch.cat([torch.diag_embed(scale), 2 * _MOVED * (2 * moved - 1)[:, :, None]], 2)
    grid = functional.affine_grid(places, list(small.shape), align_corners=False)
    return functional.grid_sample(small, grid, padding_mode="reflection", align_corners=False)


def _trained(name: str, build: Callable[[], nn.Module], course: _Course) -> nn.Module:
    path = _FOLDER / f"{name}.safetensors"
    if not path.exists():
        _FOLDER.mkdir(parents=True, exist_ok=True)
        network = _train(build, course)
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


def _train(build: Callable[[], nn.Module], course: _Course) -> nn.Module:
    images, labels = _pictures()
    torch.manual_seed(_SEED)
    generator = Generator().manual_seed(_SEED)
    network = build().train()
    steps = course.epochs * (_PICTURES // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=course.rate, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, course.rate, total_steps=steps, pct_start=0.15)
    for _ in range(course.epochs):
        order = torch.randperm(_PICTURES, generator=generator)[: _PICTURES // _BATCH * _BATCH]
        for rows in torch.split(order, _BATCH):
            shown = normalise(course.vary(images[rows] / 255, generator), PREPROCESSING)
            loss = functional.cross_entropy(network(shown), labels[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            cycle.step()
    return network
