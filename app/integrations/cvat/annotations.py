"""What a model sees and where it looks, in CVAT's words.

CVAT wants masks as zeros and ones, a number for each pixel of the smallest box around them (detectors) or of the whole
image (interactors), and runs no faster for it. So they are written as text at once, never as lists of Python's numbers,
and an answer holds so many pixels and no more.
"""

import json
import logging
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.geometry import Array
from app.contract.schemas import Box, ExplanationRecord, ImageInfo, JsonObject, Prediction, TargetResult
from app.rendering.highlights import crop_to_box, highlight, resize_mask
from app.rendering.regions import top_mass_region
from app.rendering.renderer import MapTarget, Renderer, target_at

logger = logging.getLogger(__name__)

MOST_PIXELS = 32_000_000
"""Pixels of masks in one answer."""

_COMMA, _ZERO = ord(","), ord("0")


def seen(found: list[Prediction], image: ImageInfo, threshold: float) -> bytes:
    """Return boxes, or the top class, from a confidence on."""
    kept = [one for one in found if one.score >= threshold]
    if kept and kept[0].box is None:
        return json.dumps([{**_told(kept[0].name, kept[0].score, None), "type": "tag"}]).encode()
    shapes = [(one, _points(one.box, image)) for one in kept if one.box is not None]
    told = [
        {**_told(one.name, one.score, None), "type": "rectangle", "points": points}
        for one, points in shapes
        if points[0] < points[2] and points[1] < points[3]
    ]
    return json.dumps(told).encode()


def salient(record: ExplanationRecord, renderer: Renderer, *, level: float, threshold: float) -> bytes:
    """Return a mask for each target whose score reaches a threshold; the last ones are left out where all are too much.

    Args:
        record: an explanation that has succeeded, or has found nothing.
        renderer: draws its maps.
        level: share of the positive saliency that a mask holds.
        threshold: of the score.
    """
    return b"[" + b",".join(_masks(record, renderer, level, threshold)) + b"]"


def _masks(record: ExplanationRecord, renderer: Renderer, level: float, threshold: float) -> Iterator[bytes]:
    room = MOST_PIXELS
    for target in record.targets:
        if target.error is not None or (target.score is not None and target.score < threshold):
            continue
        subject = target_at(record, target.index)
        mask, corners = highlight(
            renderer, record, subject, lambda values: tight(resize_mask(top_mass_region(values, level), record.image))
        )
        room -= mask.size
        if room < 0:
            logger.warning("explanation %s: no room in CVAT's answer for target %d", record.id, target.index)
            return
        if mask.size:
            yield _mask(target, mask, corners)


def salient_inside(
    record: ExplanationRecord, renderer: Renderer, subject: MapTarget, *, box: Box, level: float
) -> bytes:
    """Return what speaks for a target inside of a box: a number for each pixel of the image."""

    def answer(values: Array) -> bytes:
        mask = resize_mask(top_mass_region(crop_to_box(values, box, record.image), level), record.image)
        return b'{"mask":[' + b",".join(b"[" + digits(row) + b"]" for row in mask) + b"]}"

    return highlight(renderer, record, subject, answer)


def _mask(target: TargetResult, mask: NDArray[np.bool_], corners: list[int]) -> bytes:
    told = {**_told(target.name or str(target.label), target.score or 0.0, target.reliability), "type": "mask"}
    tail = ",".join(map(str, corners)).encode()
    return json.dumps(told).encode()[:-1] + b',"mask":[' + digits(mask) + b"," + tail + b"]}"


def _told(name: str, score: float, reliability: float | None) -> JsonObject:
    attributes = [{"name": "score", "value": f"{score:.3f}"}]
    if reliability is not None:
        attributes.append({"name": "reliability", "value": f"{reliability:.2f}"})
    return {"confidence": f"{score:.4f}", "label": name, "attributes": attributes}


def _points(box: Box, image: ImageInfo) -> list[float]:
    """Return a box as CVAT has it, cut off at the edge of the image."""
    x0, x1 = (min(max(side, 0.0), float(image.width)) for side in (box[0], box[2]))
    y0, y1 = (min(max(side, 0.0), float(image.height)) for side in (box[1], box[3]))
    return [x0, y0, x1, y1]


def tight(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], list[int]]:
    """Return the part of a mask in the smallest box around it, and its left, top, right and bottom pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return mask[:0, :0], []
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    return mask[top : bottom + 1, left : right + 1], [left, top, right, bottom]


def digits(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask that is not empty, row by row, as zeros and ones with commas between them."""
    text = np.full((mask.size, 2), _COMMA, dtype=np.uint8)
    text[:, 0] = mask.ravel() + np.uint8(_ZERO)
    return text.tobytes()[:-1]
