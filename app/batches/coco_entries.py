"""One entry of COCO annotations: its ids, the size of an image, and an object's box and segmentation, checked."""

import math
from collections.abc import Iterator
from typing import Any

from pycocotools import mask as coco

from app.contract.schemas import Box, JsonObject
from app.contract.survey import AnnotatedObject, RunLengths

_MOST_NUMBERS = 20_000  # of one polygon or mask
_MOST_PIXELS = 100_000_000  # of one mask


class InvalidEntryError(ValueError):
    """An entry cannot be used; `place` is the member at fault."""

    def __init__(self, place: str, detail: str) -> None:
        super().__init__(detail)
        self.place = place


def read_identity(entry: JsonObject, name: str) -> str:
    """Return an id, by which entries name each other: 1 and "1" are two.

    Raises:
        InvalidEntryError: if it is neither a whole number nor a text.
    """
    value = entry.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidEntryError(f"/{name}", "an id is a whole number or a text")
    return f"{type(value).__name__} {value}"


def read_size(entry: JsonObject) -> tuple[int, int] | None:
    """Return width and height of an image; None where its entry does not say them.

    Raises:
        InvalidEntryError: if they are no whole numbers above 0.
    """
    size = entry.get("width"), entry.get("height")
    if size == (None, None):
        return None
    if not all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 1_000_000 for side in size):
        raise InvalidEntryError("/width", "width and height are whole numbers above 0")
    return int(entry["width"]), int(entry["height"])


def read_object(entry: JsonObject, label: int, size: tuple[int, int] | None) -> AnnotatedObject:
    """Return an annotated object.

    Args:
        entry: with a box, polygons or a mask.
        label: its class index.
        size: width and height of its image, to which its box is clipped.

    Raises:
        InvalidEntryError: if it has none of these, or one that cannot be.
    """
    segmentation = entry.get("segmentation")
    polygons = list(_polygons(segmentation)) if isinstance(segmentation, list) else []
    runs = _runs(segmentation, size) if isinstance(segmentation, dict) else None
    if entry.get("bbox") is not None:
        box = _box(entry["bbox"])
    elif polygons:
        points = [number for polygon in polygons for number in polygon]
        box = (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
    elif runs is not None:
        box = _box_of_runs(runs)
    else:
        raise InvalidEntryError("/bbox", "an object has a box or a segmentation")
    return AnnotatedObject(label=label, box=_clipped(box, size), polygons=polygons, runs=runs)


def _numbers(values: Any, place: str, what: str) -> list[float]:
    if not isinstance(values, list) or not 0 < len(values) <= _MOST_NUMBERS:
        raise InvalidEntryError(place, what)
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise InvalidEntryError(place, what)
    if not all(math.isfinite(value) and abs(value) < 1e7 for value in values):
        raise InvalidEntryError(place, what)
    return [float(value) for value in values]


def _box(given: Any) -> Box:
    what = "write it as [x, y, width, height] in pixels"
    numbers = _numbers(given, "/bbox", what)
    if len(numbers) != 4:
        raise InvalidEntryError("/bbox", what)
    x, y, width, height = numbers
    if not (width > 0 and height > 0):
        raise InvalidEntryError("/bbox", "its width and height are above 0")
    return x, y, x + width, y + height


def _clipped(box: Box, size: tuple[int, int] | None) -> Box:
    width, height = size or (math.inf, math.inf)
    x0, y0, x1, y1 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)
    if not (x0 < x1 and y0 < y1):
        where = f"which is {width} x {height} pixels" if size else "which begins at 0, 0"
        raise InvalidEntryError("/bbox", f"it lies outside of the image, {where}")
    return x0, y0, x1, y1


def area(box: Box) -> float:
    """Return the area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def _polygons(given: list[Any]) -> Iterator[list[float]]:
    what = "a polygon is a list of x, y, x, y, ... of three points or more"
    for place, polygon in enumerate(given):
        numbers = _numbers(polygon, f"/segmentation/{place}", what)
        if len(numbers) < 6 or len(numbers) % 2:
            raise InvalidEntryError(f"/segmentation/{place}", what)
        yield numbers


def _runs(given: JsonObject, size: tuple[int, int] | None) -> RunLengths:
    place, what = "/segmentation", 'a mask is {"size": [height, width], "counts": ...} that cover the image'
    sides, counts = given.get("size"), given.get("counts")
    if not (isinstance(sides, list) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)):
        raise InvalidEntryError(f"{place}/size", what)
    height, width = sides
    if height * width > _MOST_PIXELS:
        raise InvalidEntryError(f"{place}/size", f"a mask has at most {_MOST_PIXELS:,} pixels")
    if size is not None and size != (width, height):
        raise InvalidEntryError(
            f"{place}/size", f"the image has {size[0]} x {size[1]} pixels, the mask {width} x {height}"
        )
    lengths: Any = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(lengths, list) or not 0 < len(lengths) <= _MOST_NUMBERS:
        raise InvalidEntryError(f"{place}/counts", what)
    if not all(type(run) is int and run >= 0 for run in lengths) or sum(lengths) != height * width:
        raise InvalidEntryError(f"{place}/counts", what)
    return RunLengths(height=height, width=width, counts=lengths)


def _decompressed(text: str) -> list[int] | None:
    """Return the run lengths of COCO's text (five bits a character, differences from the third on); None if broken."""
    counts: list[int] = []
    value = shift = 0
    for letter in text[: 8 * _MOST_NUMBERS]:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 40:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    return None if shift else counts


def _box_of_runs(runs: RunLengths) -> Box:
    packed = coco.frPyObjects({"size": [runs.height, runs.width], "counts": runs.counts}, runs.height, runs.width)
    x, y, width, height = (float(side) for side in coco.toBbox(packed))
    return x, y, x + width, y + height
