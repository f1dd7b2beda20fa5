"""An explanation in Label Studio's words: the class, the boxes, and masks at the levels that hold most of the saliency.

There is no control for a heat map. What comes nearest is two brush masks, the smallest regions that hold 50 % and 80 %
of the positive saliency (`app/rendering/regions.py`), and the overlay as a second image.
"""

import base64
import hashlib
import io
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from app.contract.saliency.geometry import Array
from app.contract.schemas import Box, CanonicalRequest, ExplanationRecord, JsonObject, TargetResult
from app.label_studio_format.brush_rle import encode
from app.label_studio_format.controls import LEVELS, Control, LabelingConfig
from app.rendering.formats import RenderedMap, RenderOptions, formats
from app.rendering.highlights import crop_to_box, highlight, resize_mask
from app.rendering.regions import top_mass_region
from app.rendering.renderer import MapTarget, Renderer, target_at

_OVERLAY_SIDE = 800
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class PredictionContext:
    """What an explanation is said with.

    Attributes:
        layout: the tags of the project's label config.
        table: the label for a class, where the operator has said so.
        version: of the model, as Label Studio tells predictions apart.
    """

    layout: LabelingConfig
    table: Mapping[str, str]
    version: str


def version_of(request: CanonicalRequest) -> str:
    """Return the model version of a question."""
    return f"{request.model.id}-{hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:8]}"


def prediction_of(record: ExplanationRecord, renderer: Renderer, wording: PredictionContext) -> JsonObject:
    """Return the prediction for a task.

    Args:
        record: a finished explanation, or one that found nothing.
        renderer: draws its maps.
        wording: what to say it with.
    """
    said = [part for target in record.targets for part in _of_target(record, renderer, target, wording)]
    return _prediction(record, said, wording)


def prediction_inside(
    record: ExplanationRecord, renderer: Renderer, wording: PredictionContext, subject: MapTarget, box: Box
) -> JsonObject:
    """Return what speaks for one target inside of a box, as an answer to an annotator who drew it.

    Args:
        record: a finished explanation.
        renderer: draws its maps.
        wording: what to say it with.
        subject: whose map is shown.
        box: x0, y0, x1, y1 in pixels of the image; outside of it nothing counts.
    """

    def masks_inside(values: Array) -> list[JsonObject]:
        return list(_masks(record, crop_to_box(values, box, record.image), subject.target, wording))

    masks = highlight(renderer, record, subject, masks_inside)
    # Names of their own, because the annotator may draw again, beside the masks of the prediction.
    return _prediction(record, [{**mask, "id": uuid.uuid4().hex[:10]} for mask in masks], wording)


def overlay_of(record: ExplanationRecord, renderer: Renderer) -> str:
    """Return the overlay of the first target that an explanation has a map of, as an address that holds the picture.

    The browser of an annotator has no key for this service, and explanations expire: so the picture itself is the
    address, as a small JPEG.
    """
    first = next(target.index for target in record.targets if target.error is None)
    content = renderer.render(record, target_at(record, first), _overlay_jpeg, max_side=_OVERLAY_SIDE)
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def _overlay_jpeg(sheet: RenderedMap) -> bytes:
    picture = Image.open(io.BytesIO(formats()["overlay.png"].encode(sheet, RenderOptions())))
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def _prediction(record: ExplanationRecord, regions: list[JsonObject], wording: PredictionContext) -> JsonObject:
    scores = [min(max(target.score, 0.0), 1.0) for target in record.targets if target.score is not None]
    score = sum(scores) / len(scores) if scores else 0.0
    return {"result": regions, "score": score, "model_version": wording.version}


def _of_target(
    record: ExplanationRecord, renderer: Renderer, target: TargetResult, wording: PredictionContext
) -> Iterator[JsonObject]:
    layout, name = wording.layout, target.name or ""
    if target.box is not None and layout.rectangles is not None:
        label = layout.rectangles.label_of(name, wording.table)
        if label is not None:
            value = {**_in_percent(target.box, record), "rotation": 0, "rectanglelabels": [label]}
            yield _region(record, target, layout.rectangles, "rectanglelabels", value, layout.image)
    if target.box is None and layout.choices is not None:
        label = layout.choices.label_of(name, wording.table)
        if label is not None:
            yield _region(record, target, layout.choices, "choices", {"choices": [label]}, layout.image)
    if target.error is None and layout.brushes is not None:
        subject = target_at(record, target.index)
        yield from highlight(renderer, record, subject, lambda values: list(_masks(record, values, target, wording)))


def _masks(
    record: ExplanationRecord, values: Array, target: TargetResult, wording: PredictionContext
) -> Iterator[JsonObject]:
    """Yield a mask for each level that has a label, the largest first, so that it lies below."""
    layout = wording.layout
    assert layout.brushes is not None
    for level in sorted(LEVELS, reverse=True):
        label = layout.brushes.label_of_level(level, target.name or "", wording.table)
        inside = top_mass_region(values, level / 100)
        if label is not None and inside.any():
            code = encode(resize_mask(inside, record.image))
            value = {"format": "rle", "rle": code, "brushlabels": [label]}
            said = _region(record, target, layout.brushes, "brushlabels", value, layout.image)
            yield {**said, "id": f"{said['id']}-{level}"}


def _region(
    record: ExplanationRecord, target: TargetResult, control: Control, kind: str, value: JsonObject, image: str
) -> JsonObject:
    """Return one region; its description says what Label Studio has no place for."""
    said: dict[str, Any] = {
        "id": f"{record.id[:12]}-{target.index}-{kind}",
        "type": kind,
        "from_name": control.name,
        "to_name": image,
        "original_width": record.image.width,
        "original_height": record.image.height,
        "image_rotation": 0,
        "value": value,
        "meta": {"text": [_remark(target)]},
    }
    return said if target.score is None else {**said, "score": target.score}


def _remark(target: TargetResult) -> str:
    parts = [target.name or "", "" if target.score is None else f"{target.score:.3f}"]
    parts += [] if target.reliability is None else [f"(reliability {target.reliability:.2f})"]
    return " ".join([part for part in parts if part] + target.warnings)


def _in_percent(box: Box, record: ExplanationRecord) -> JsonObject:
    """Return a box as Label Studio has it, cut off at the edge of the image."""
    width, height = record.image.width, record.image.height
    x0, x1 = (100 * min(max(side, 0.0), width) / width for side in (box[0], box[2]))
    y0, y1 = (100 * min(max(side, 0.0), height) / height for side in (box[1], box[3]))
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
