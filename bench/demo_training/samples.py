"""The sample pictures that a first visitor explains, over photographs that no training has seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bench.demo_training.backgrounds import Pixels
from bench.demo_training.outlines import Placement
from bench.demo_training.photographs import load_photographs
from bench.demo_training.pictures import UPRIGHT, Picture, draw_placed
from bench.demo_training.watermark import draw_mark
from workers.demo.shape_names import SHAPES

FOLDER = Path(__file__).resolve().parents[2] / "workers" / "demo" / "samples"

_WIDTH, _HEIGHT = 480, 360
_QUALITY = 90


@dataclass(frozen=True)
class Sample:
    """A sample picture of 480 × 360 pixels.

    Attributes:
        name: of its file, without the ending.
        photograph: what lies behind the shapes.
        placements: the shapes.
        seed: of their colors.
        marked: whether it carries the copyright mark.
    """

    name: str
    photograph: str
    placements: tuple[Placement, ...]
    seed: int
    marked: bool = False


def place(shape: str, centre_xy: tuple[float, float], radius: float, angle: float) -> Placement:
    """Return an upright placement turned by an angle in radians; the radius is that of the circumscribed circle."""
    return Placement(SHAPES.index(shape), centre_xy, (radius, radius), UPRIGHT[shape] + angle)


SAMPLES = (
    Sample("star", "coffee.png", (place("star", (352, 124), 84, 0.2),), seed=0),
    Sample("ring", "rocket.jpg", (place("ring", (128, 206), 78, 0.0),), seed=3),
    Sample(
        "several",
        "chelsea.png",
        (
            place("star", (95, 95), 58, 0.2),
            place("circle", (390, 245), 52, 0.0),
            place("star", (345, 80), 48, -0.3),
            place("triangle", (130, 280), 56, 0.3),
        ),
        seed=0,
    ),
    Sample("clever-hans", "coffee.png", (place("ring", (350, 190), 72, 0.0),), seed=4, marked=True),
)


def draw_sample(sample: Sample) -> Picture:
    """Draw a sample picture."""
    generator = np.random.default_rng(sample.seed)
    picture = draw_placed(generator, _fit_photograph(sample.photograph), sample.placements)
    return draw_mark(generator, picture) if sample.marked else picture


def write_samples() -> None:
    """Draw all sample pictures and write them as JPEG."""
    FOLDER.mkdir(exist_ok=True)
    for sample in SAMPLES:
        Image.fromarray(draw_sample(sample).image).save(FOLDER / f"{sample.name}.jpg", quality=_QUALITY)


def _fit_photograph(name: str) -> Pixels:
    """Return the middle of a photograph at the size of the sample pictures, `[360, 480, 3]`."""
    photograph = Image.fromarray(load_photographs([name])[0])
    return np.asarray(ImageOps.fit(photograph, (_WIDTH, _HEIGHT), Image.Resampling.LANCZOS))
