"""The items of a batch with their explanations, and what all exports say of an image."""

from collections.abc import Iterator, Sequence

from app.batches.status import item_status
from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.errors import BlobNotFoundError, RiseError, StorageError
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import ExplanationRecord, Failure, JsonObject

_PAGE = 50


def iter_items(
    batch: BatchRecord, batches: BatchStore, store: ExplanationStore, order: Sequence[int] | None = None
) -> Iterator[tuple[BatchItem, ExplanationRecord | None]]:
    """Yield the items of a batch, by their indices or in another order, each with its explanation or None."""
    indices = order if order is not None else range(batch.total)
    for first in range(0, batch.total, _PAGE):
        for item in batches.members(batch.id, indices[first : first + _PAGE]):
            yield item, store.read(item.explanation) if item.explanation else None


def error_entry(error: RiseError) -> JsonObject:
    """Return the manifest's error for an explanation that has succeeded but whose map cannot be rendered."""
    if isinstance(error, StorageError):
        return {"code": error.code, "detail": f"its maps cannot be drawn now: {error}"}
    if isinstance(error, BlobNotFoundError):
        return {"code": error.code, "detail": f"its maps cannot be drawn any more: {error}"}
    return {"code": error.code, "detail": error.detail}


def failure_of(item: BatchItem, record: ExplanationRecord | None) -> Failure | None:
    """Return why an image was refused, or why its explanation failed."""
    return item.error or (record.error if record else None)


def image_fields(batch: BatchRecord, item: BatchItem, record: ExplanationRecord | None) -> JsonObject:
    """Return what is told of an image, whether it was explained or not."""
    return {
        "index": item.index,
        "name": item.name,
        "status": item_status(batch, item, record.status if record else None),
        "explanation": item.explanation,
        "consistency": record.consistency if record else None,
    }
