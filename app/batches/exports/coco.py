"""The regions of a batch as one streamed COCO data set; one image at a time is in memory.

Annotations come before images and categories, which are complete only at the end. Each annotation has a `score`, so
the list of annotations is a COCO results file too.
"""

import json
from collections.abc import Iterator
from itertools import count

from app.batches.exports.explained_items import error_entry, failure_of, iter_items
from app.batches.status import item_status
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.errors import RiseError
from app.contract.explanations.store import ExplanationStore
from app.contract.saliency.geometry import Array
from app.contract.schemas import ExplanationRecord, JsonObject, TargetResult
from app.rendering.coco_rle import segmentation
from app.rendering.highlights import highlight, resize_mask
from app.rendering.regions import top_mass_region
from app.rendering.renderer import Renderer, target_at


def stream_coco(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, renderer: Renderer, *, level: float
) -> Iterator[bytes]:
    """Yield a COCO file: an annotation for each target that has a region.

    The id of an image is the index of its item, that of a category the model's class index. Items without a map are in
    `info`.

    Args:
        level: share of the positive saliency that a region holds.
    """
    images: list[JsonObject] = []
    categories: dict[int, str] = {}
    left_out: list[JsonObject] = []
    ids = count(1)
    yield b'{"annotations":['
    for item, record in iter_items(batch, batches, store):
        if record is None or not record.is_answered:
            left_out.append(_left_out(batch, item, record))
            continue
        images.append(_image(item, record))
        try:
            for target in record.targets:
                annotation = _annotation(record, renderer, target, level)
                if annotation is not None:
                    annotation_id = next(ids)
                    entry = {"id": annotation_id, "image_id": item.index, **annotation}
                    yield (b"" if annotation_id == 1 else b",") + json.dumps(entry).encode()
                    categories.setdefault(annotation["category_id"], target.name or str(target.label))
        except RiseError as error:
            left_out.append({**_left_out(batch, item, record), "error": error_entry(error)})
    classes = [{"id": label, "name": name} for label, name in sorted(categories.items())]
    info = {"batch": batch.id, "model": batch.request.model.id, "level": level, "left_out": left_out}
    yield b"]," + json.dumps({"images": images, "categories": classes, "info": info}).encode()[1:]


def _image(item: BatchItem, record: ExplanationRecord) -> JsonObject:
    size = {"width": record.image.width, "height": record.image.height}
    return {"id": item.index, **size, "file_name": item.name, "explanation": record.id}


def _left_out(batch: BatchRecord, item: BatchItem, record: ExplanationRecord | None) -> JsonObject:
    failure = failure_of(item, record)
    return {
        "id": item.index,
        "file_name": item.name,
        "status": item_status(batch, item, record.status if record else None),
        "error": failure.model_dump() if failure else None,
    }


def _annotation(record: ExplanationRecord, renderer: Renderer, target: TargetResult, level: float) -> JsonObject | None:
    """Return an annotation without ids; None for a target without a region."""
    if target.error is not None:
        return None

    def segmented(values: Array) -> JsonObject | None:
        inside = top_mass_region(values, level)
        return segmentation(resize_mask(inside, record.image)) if inside.any() else None

    found = highlight(renderer, record, target_at(record, target.index), segmented)
    if found is None:
        return None
    return {
        "category_id": target.label if target.label is not None else 0,
        **found,
        "iscrowd": 1,
        "score": target.score,
        "level": level,
        "reliability": target.reliability,
        "target": target.index,
        "box": target.box,
    }
