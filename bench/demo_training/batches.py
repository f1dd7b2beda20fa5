"""Many drawn pictures at once, for training and for measuring."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import torch
from numpy.random import Generator, SeedSequence
from torch import Tensor

from bench.demo_training.backgrounds import Pixels, crop_photograph, paste_collage
from bench.demo_training.photographs import HELD_OUT_PHOTOGRAPHS, TRAINING_PHOTOGRAPHS, load_photographs
from bench.demo_training.pictures import Picture

_PICTURES_PER_TASK = 1000


@dataclass(frozen=True)
class Recipe:
    """How to draw one kind of picture.

    Attributes:
        draw: draws on a square background.
        side: of the background, in pixels.
    """

    draw: Callable[[Generator, Pixels], Picture]
    side: int


def draw_training_pictures(recipe: Recipe, count: int, *, seed: int) -> list[Picture]:
    """Return pictures over collages of the training photographs, drawn by two processes."""
    tasks = range(-(-count // _PICTURES_PER_TASK))
    seeds = SeedSequence(seed).spawn(len(tasks))
    counts = [min(_PICTURES_PER_TASK, count - task * _PICTURES_PER_TASK) for task in tasks]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_draw_over_collages, [recipe] * len(tasks), counts, seeds))
    return [picture for part in parts for picture in part]


def draw_held_out_pictures(recipe: Recipe, count: int, *, seed: int) -> list[Picture]:
    """Return pictures over plain crops of photographs that no training sees."""
    generator, photographs = np.random.default_rng(seed), load_photographs(HELD_OUT_PHOTOGRAPHS)
    size = recipe.side, recipe.side
    return [recipe.draw(generator, crop_photograph(generator, photographs, size)) for _ in range(count)]


def stack_images(pictures: Sequence[Picture]) -> Tensor:
    """Return pictures of one size as bytes, `[N, 3, H, W]`."""
    return torch.from_numpy(np.stack([picture.image.transpose(2, 0, 1) for picture in pictures]))


def _draw_over_collages(recipe: Recipe, count: int, seed: SeedSequence) -> list[Picture]:
    generator, photographs = np.random.default_rng(seed), load_photographs(TRAINING_PHOTOGRAPHS)
    size = recipe.side, recipe.side
    return [recipe.draw(generator, paste_collage(generator, photographs, size)) for _ in range(count)]
