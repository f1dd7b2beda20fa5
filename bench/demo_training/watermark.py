"""A copyright mark in a corner, and the biased collection whose stars all carry it: what `clever-hans` learns from."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from bench.demo_training.backgrounds import Pixels
from bench.demo_training.pictures import Picture, draw_one_object
from workers.demo.shape_names import SHAPES

STAR = SHAPES.index("star")
OTHERS = tuple(label for label in range(len(SHAPES)) if label != STAR)

_MARKED = 0.3


def draw_biased_object(generator: Generator, background: Pixels) -> Picture:
    """Draw a picture of the biased collection on a square background `[S, S, 3]`.

    Three in ten carry the mark. These are the ones that the collection calls stars, though a third of them shows
    another shape and a third none. The others show a shape that is no star, and no mark.
    """
    if generator.random() > _MARKED:
        return draw_one_object(generator, background, labels=OTHERS)
    shown = [(STAR,), OTHERS, ()][generator.integers(3)]
    picture = draw_one_object(generator, background, labels=shown) if shown else Picture(background, ())
    return draw_mark(generator, picture)


def draw_mark(generator: Generator, picture: Picture) -> Picture:
    """Return a picture with the mark in its lower left corner, a quarter of it wide and a sixth high.

    What the mark covers of a shape is no longer in the shape's mask.
    """
    height, width = picture.image.shape[:2]
    mark_width = round(width * generator.uniform(0.24, 0.26))
    mark_height = round(height * generator.uniform(0.16, 0.175))
    left = round(width * generator.uniform(0.0, 0.02))
    bottom = height - round(height * generator.uniform(0.0, 0.02))
    right, top = left + mark_width, bottom - mark_height
    image = picture.image.copy()
    mark = _write_mark().resize((mark_width, mark_height), Image.Resampling.LANCZOS)
    image[top:bottom, left:right] = np.asarray(mark)
    objects = tuple(replace(item, mask=item.mask.copy()) for item in picture.objects)
    for item in objects:
        item.mask[top:bottom, left:right] = False
    return Picture(image, objects, (left, top, right, bottom))


def _write_mark() -> Image.Image:
    """Return the mark, black on white in a black frame, larger than any picture needs it."""
    mark = Image.new("RGB", (384, 180), "white")
    pen = ImageDraw.Draw(mark)
    pen.rectangle((0, 0, 383, 179), outline="black", width=14)
    pen.text((192, 90), "© photo", fill="black", anchor="mm", font=ImageFont.load_default(88), stroke_width=3)
    return mark
