"""Drawn pictures with their objects as a COCO file: stars of which some carry the mark, and other shapes."""

import io
import json
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from app.contract.schemas import JsonObject
from bench.demo_training.batches import Recipe, draw_held_out_pictures
from bench.demo_training.pictures import Picture, draw_one_object
from bench.demo_training.watermark import OTHERS, STAR, draw_mark
from workers.demo.shape_names import SHAPES


def draw_pictures(*, marked: int, unmarked: int, others: int, seed: int, side: int = 96) -> list[Picture]:
    """Return stars, the first of which carry the mark, then other shapes."""
    stars = draw_held_out_pictures(Recipe(partial(draw_one_object, labels=(STAR,)), side), marked + unmarked, seed=seed)
    rest = draw_held_out_pictures(Recipe(partial(draw_one_object, labels=OTHERS), side), others, seed=seed + 1000)
    generator = np.random.default_rng(seed)
    return [*(draw_mark(generator, star) for star in stars[:marked]), *stars[marked:], *rest]


def png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, "PNG")
    return buffer.getvalue()


def files_of(pictures: list[Picture]) -> list[tuple[str, bytes]]:
    """Return names and contents of image files."""
    return [(f"pictures/{number:03d}.png", png(picture)) for number, picture in enumerate(pictures)]


def coco_of(pictures: list[Picture], **changes: Any) -> JsonObject:
    """Return the COCO file of pictures: masks as uncompressed run lengths, boxes [x, y, width, height]."""
    images = [
        {
            "id": number,
            "file_name": f"{number:03d}.png",
            "width": picture.image.shape[1],
            "height": picture.image.shape[0],
        }
        for number, picture in enumerate(pictures)
    ]
    annotations = [
        {
            "id": 10 * number + place,
            "image_id": number,
            "category_id": item.label + 1,
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "segmentation": {"size": list(item.mask.shape), "counts": run_lengths(item.mask)},
            "iscrowd": 1,
        }
        for number, picture in enumerate(pictures)
        for place, item in enumerate(picture.objects)
        for x0, y0, x1, y1 in [item.box_xyxy]
    ]
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(SHAPES)]
    return {"images": images, "annotations": annotations, "categories": categories, **changes}


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return the lengths of runs of 0 and 1, column by column, the first of 0."""
    flat = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


def encoded(data: JsonObject) -> bytes:
    return json.dumps(data).encode()
