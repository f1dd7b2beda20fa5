"""Predictions and saliency masks as annotations of CVAT.

CVAT reads masks as zeros and ones, a number for each pixel of the smallest box around them (detectors) or of the whole
image (interactors). They are written as text without intermediate lists of Python's numbers, and the pixels of one
response are limited.
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

MAX_MASK_PIXELS = 32_000_000
"""Pixels of all masks in one response."""

_COMMA, _ZERO = ord(","), ord("0")


def prediction_shapes(predictions: list[Prediction], image: ImageInfo, threshold: float) -> bytes:
    """Return boxes, or the top class, with a score of at least `threshold`."""
    kept = [prediction for prediction in predictions if prediction.score >= threshold]
    if kept and kept[0].box is None:
        return json.dumps([{**_shape_fields(kept[0].name, kept[0].score, None), "type": "tag"}]).encode()
    boxes = [(prediction, _points(prediction.box, image)) for prediction in kept if prediction.box is not None]
    shapes = [
        {**_shape_fields(prediction.name, prediction.score, None), "type": "rectangle", "points": points}
        for prediction, points in boxes
        if points[0] < points[2] and points[1] < points[3]
    ]
    return json.dumps(shapes).encode()


def saliency_masks(record: ExplanationRecord, renderer: Renderer, *, level: float, threshold: float) -> bytes:
    """Return a mask for each target whose score reaches a threshold; the last ones are omitted at the limit of pixels.

    Args:
        record: an explanation that has succeeded, or has found nothing.
        renderer: renders its maps.
        level: share of the positive saliency that a mask holds.
        threshold: of the score.
    """
    return b"[" + b",".join(_masks(record, renderer, level, threshold)) + b"]"


def _masks(record: ExplanationRecord, renderer: Renderer, level: float, threshold: float) -> Iterator[bytes]:
    remaining_pixels = MAX_MASK_PIXELS
    for target in record.targets:
        if target.error is not None or (target.score is not None and target.score < threshold):
            continue
        mask, corners = highlight(
            renderer,
            record,
            target_at(record, target.index),
            lambda values: crop_to_content(resize_mask(top_mass_region(values, level), record.image)),
        )
        remaining_pixels -= mask.size
        if remaining_pixels < 0:
            logger.warning("explanation %s: no room in CVAT's response for target %d", record.id, target.index)
            return
        if mask.size:
            yield _mask(target, mask, corners)


def interactor_mask(
    record: ExplanationRecord, renderer: Renderer, target: MapTarget, *, box: Box, level: float
) -> bytes:
    """Return the mask of a target inside of a box: a number for each pixel of the image."""

    def mask_json(values: Array) -> bytes:
        mask = resize_mask(top_mass_region(crop_to_box(values, box, record.image), level), record.image)
        return b'{"mask":[' + b",".join(b"[" + mask_digits(row) + b"]" for row in mask) + b"]}"

    return highlight(renderer, record, target, mask_json)


def _mask(target: TargetResult, mask: NDArray[np.bool_], corners: list[int]) -> bytes:
    name, score = target.name or str(target.label), target.score or 0.0
    fields = {**_shape_fields(name, score, target.reliability), "type": "mask"}
    tail = ",".join(map(str, corners)).encode()
    return json.dumps(fields).encode()[:-1] + b',"mask":[' + mask_digits(mask) + b"," + tail + b"]}"


def _shape_fields(name: str, score: float, reliability: float | None) -> JsonObject:
    attributes = [{"name": "score", "value": f"{score:.3f}"}]
    if reliability is not None:
        attributes.append({"name": "reliability", "value": f"{reliability:.2f}"})
    return {"confidence": f"{score:.4f}", "label": name, "attributes": attributes}


def _points(box: Box, image: ImageInfo) -> list[float]:
    """Return a box as CVAT has it, clipped to the image."""
    x0, x1 = (min(max(side, 0.0), float(image.width)) for side in (box[0], box[2]))
    y0, y1 = (min(max(side, 0.0), float(image.height)) for side in (box[1], box[3]))
    return [x0, y0, x1, y1]


def crop_to_content(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], list[int]]:
    """Return the part of a mask in the smallest box around it, and its left, top, right and bottom pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return mask[:0, :0], []
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    return mask[top : bottom + 1, left : right + 1], [left, top, right, bottom]


def mask_digits(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask that is not empty, row by row, as comma-separated zeros and ones."""
    text = np.full((mask.size, 2), _COMMA, dtype=np.uint8)
    text[:, 0] = mask.ravel() + np.uint8(_ZERO)
    return text.tobytes()[:-1]
