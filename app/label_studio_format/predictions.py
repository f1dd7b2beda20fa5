"""An explanation as a prediction of Label Studio: the class, the boxes, and masks of the most salient regions.

There is no control for a heat map. The nearest substitutes are two brush masks, the smallest regions that hold 50 % and
80 % of the positive saliency (`app/rendering/regions.py`), and the overlays as a second image.
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
from app.rendering.panels import tile_panels
from app.rendering.regions import top_mass_region
from app.rendering.renderer import MapTarget, Renderer, target_at

_OVERLAY_SIDE = 800
_SMALL_OVERLAY_SIDE = 480  # of several
_MAX_OVERLAYS = 9
_JPEG_QUALITY = 85


@dataclass(frozen=True)
class PredictionContext:
    """How an explanation is presented.

    Attributes:
        layout: the tags of the project's label config.
        table: the label of a class, where the operator has set one.
        version: the model version of the prediction.
    """

    layout: LabelingConfig
    table: Mapping[str, str]
    version: str


def version_of(request: CanonicalRequest) -> str:
    """Return the model version of a request."""
    return f"{request.model.id}-{hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:8]}"


def prediction_of(record: ExplanationRecord, renderer: Renderer, context: PredictionContext) -> JsonObject:
    """Return the prediction for a task.

    Args:
        record: a finished explanation, or one that found nothing.
        renderer: draws its maps.
        context: how it is presented.
    """
    regions = [region for target in record.targets for region in _regions_of(record, renderer, target, context)]
    return _prediction(record, regions, context)


def prediction_inside(
    record: ExplanationRecord, renderer: Renderer, context: PredictionContext, map_target: MapTarget, box: Box
) -> JsonObject:
    """Return masks of one target inside of a box, as the response to an annotator who drew it.

    Args:
        record: a finished explanation.
        renderer: draws its maps.
        context: how it is presented.
        map_target: whose map is used.
        box: x0, y0, x1, y1 in pixels of the image; saliency outside of it is ignored.
    """

    def masks_inside(values: Array) -> list[JsonObject]:
        return list(_masks(record, crop_to_box(values, box, record.image), map_target.target, context))

    masks = highlight(renderer, record, map_target, masks_inside)
    # Random ids, because the masks of another rectangle or of the prediction may exist already.
    return _prediction(record, [{**mask, "id": uuid.uuid4().hex[:10]} for mask in masks], context)


def overlays_of(record: ExplanationRecord, renderer: Renderer) -> str:
    """Return the overlays of all targets that have a map, nine at most, as a data URL of one small JPEG.

    A link would not do: the annotator's browser has no key of this service, and explanations expire.
    """
    shown = [target for target in record.targets if target.error is None][:_MAX_OVERLAYS]
    side = _OVERLAY_SIDE if len(shown) == 1 else _SMALL_OVERLAY_SIDE
    overlays = [renderer.render(record, target_at(record, each.index), _overlay, max_side=side) for each in shown]
    buffer = io.BytesIO()
    tile_panels(overlays, [_caption(target) for target in shown]).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _overlay(sheet: RenderedMap) -> Image.Image:
    return Image.open(io.BytesIO(formats()["overlay.png"].encode(sheet, RenderOptions()))).convert("RGB")


def _caption(target: TargetResult) -> str:
    """Return the name and the score of a target."""
    return " ".join([target.name or "", "" if target.score is None else f"{target.score:.3f}"]).strip()


def _prediction(record: ExplanationRecord, regions: list[JsonObject], context: PredictionContext) -> JsonObject:
    scores = [min(max(target.score, 0.0), 1.0) for target in record.targets if target.score is not None]
    score = sum(scores) / len(scores) if scores else 0.0
    return {"result": regions, "score": score, "model_version": context.version}


def _regions_of(
    record: ExplanationRecord, renderer: Renderer, target: TargetResult, context: PredictionContext
) -> Iterator[JsonObject]:
    layout, name = context.layout, target.name or ""
    if target.box is not None and layout.rectangles is not None:
        label = layout.rectangles.label_of(name, context.table)
        if label is not None:
            value = {**_percent_box(target.box, record), "rotation": 0, "rectanglelabels": [label]}
            yield _region(record, target, layout.rectangles, "rectanglelabels", value, layout.image)
    if target.box is None and layout.choices is not None:
        label = layout.choices.label_of(name, context.table)
        if label is not None:
            yield _region(record, target, layout.choices, "choices", {"choices": [label]}, layout.image)
    if target.error is None and layout.brushes is not None:
        map_target = target_at(record, target.index)
        yield from highlight(renderer, record, map_target, lambda values: list(_masks(record, values, target, context)))


def _masks(
    record: ExplanationRecord, values: Array, target: TargetResult, context: PredictionContext
) -> Iterator[JsonObject]:
    """Yield a mask for each level that has a label, the largest first, so that it is drawn below."""
    layout = context.layout
    assert layout.brushes is not None
    for level in sorted(LEVELS, reverse=True):
        label = layout.brushes.label_of_level(level, target.name or "", context.table)
        inside = top_mass_region(values, level / 100)
        if label is not None and inside.any():
            rle = encode(resize_mask(inside, record.image))
            value = {"format": "rle", "rle": rle, "brushlabels": [label]}
            region = _region(record, target, layout.brushes, "brushlabels", value, layout.image)
            yield {**region, "id": f"{region['id']}-{level}"}


def _region(
    record: ExplanationRecord, target: TargetResult, control: Control, kind: str, value: JsonObject, image: str
) -> JsonObject:
    """Return one region; its description holds the values that have no field in Label Studio."""
    region: dict[str, Any] = {
        "id": f"{record.id[:12]}-{target.index}-{kind}",
        "type": kind,
        "from_name": control.name,
        "to_name": image,
        "original_width": record.image.width,
        "original_height": record.image.height,
        "image_rotation": 0,
        "value": value,
        "meta": {"text": [_description(target)]},
    }
    return region if target.score is None else {**region, "score": target.score}


def _description(target: TargetResult) -> str:
    parts = [_caption(target)]
    parts += [] if target.reliability is None else [f"(reliability {target.reliability:.2f})"]
    trust = target.evidence.sentences if target.evidence else []
    return " ".join([part for part in parts if part] + target.warnings + trust)


def _percent_box(box: Box, record: ExplanationRecord) -> JsonObject:
    """Return a box in percent of the image, clipped to it."""
    width, height = record.image.width, record.image.height
    x0, x1 = (100 * min(max(side, 0.0), width) / width for side in (box[0], box[2]))
    y0, y1 = (100 * min(max(side, 0.0), height) / height for side in (box[1], box[3]))
    return {"x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0}
