"""The regions of a batch as one COCO data set, made while it is sent: one image at a time is in memory.

Annotations come first, because what they are of is known last; members of a JSON object have no order. Each has a
`score`, so the list of annotations is a COCO results file too.
"""

import json
from collections.abc import Iterator
from itertools import count

from app.batches.progress import status_of
from app.batches.results import explained, trouble
from app.contract.batches import Batch, Batches, Member
from app.contract.blobs import Blobs
from app.contract.errors import RiseError
from app.contract.schemas import JsonObject, Record, TargetResult
from app.contract.store import Store
from app.highlights import drawn_values, enlarged
from app.maps import target_at
from app.regions import region
from app.segmentation import segmentation


def coco_of(batch: Batch, batches: Batches, store: Store, blobs: Blobs, *, level: float) -> Iterator[bytes]:
    """Yield a COCO file: an annotation for each target that has a region.

    Images have the index of their member as id, classes that of the model's class. What has no map is in `info`.

    Args:
        level: share of the positive saliency that a region holds.
    """
    images: list[JsonObject] = []
    categories: dict[int, str] = {}
    left_out: list[JsonObject] = []
    ids = count(1)
    yield b'{"annotations":['
    for member, record in explained(batch, batches, store):
        if record is None or not record.tells:
            left_out.append(_left_out(batch, member, record))
            continue
        images.append(_image(member, record))
        try:
            for target in record.targets:
                said = _annotation(record, blobs, target, level)
                if said is not None:
                    number = next(ids)
                    own = {"id": number, "image_id": member.index, **said}
                    yield (b"" if number == 1 else b",") + json.dumps(own).encode()
                    categories.setdefault(said["category_id"], target.name or str(target.label))
        except RiseError as error:
            left_out.append({**_left_out(batch, member, record), "error": trouble(error)})
    classes = [{"id": label, "name": name} for label, name in sorted(categories.items())]
    info = {"batch": batch.id, "model": batch.request.model.id, "level": level, "left_out": left_out}
    yield b"]," + json.dumps({"images": images, "categories": classes, "info": info}).encode()[1:]


def _image(member: Member, record: Record) -> JsonObject:
    size = {"width": record.image.width, "height": record.image.height}
    return {"id": member.index, **size, "file_name": member.name, "explanation": record.id}


def _left_out(batch: Batch, member: Member, record: Record | None) -> JsonObject:
    failure = member.error or (record.error if record else None)
    return {
        "id": member.index,
        "file_name": member.name,
        "status": status_of(batch, member, record.status if record else None),
        "error": failure.model_dump() if failure else None,
    }


def _annotation(record: Record, blobs: Blobs, target: TargetResult, level: float) -> JsonObject | None:
    """Return an annotation without ids; None for a target without a region."""
    if target.error is not None:
        return None
    inside = region(drawn_values(record, blobs, target_at(record, target.index)), level)
    if not inside.any():
        return None
    return {
        "category_id": target.label if target.label is not None else 0,
        **segmentation(enlarged(inside, record.image)),
        "iscrowd": 1,
        "score": target.score,
        "level": level,
        "reliability": target.reliability,
        "target": target.index,
        "box": target.box,
    }
