"""Batches as clients see them."""

from datetime import datetime

from pydantic import Field

from app.batches.status import BatchStatus, ItemStatus, batch_status, counts_of, fraction_done, item_status
from app.batches.store import AnnotationSummary, BatchItem, BatchRecord, BatchStore
from app.contract.schemas import ExplanationRecord, Failure, JsonObject, ModelRef, StoredModel
from app.explanations.root_path import root_path
from app.explanations.views import ExplanationView, view

_PARTS = ("explanations", "archive", "coco.json", "targets.csv", "label-studio.json", "label-config.xml", "cancel")


class BatchView(StoredModel):
    """A batch: its request, and the state of its images."""

    id: str
    status: BatchStatus
    model: ModelRef
    method: str
    parameters: JsonObject
    total: int = Field(description="How many images it has.")
    counts: dict[ItemStatus, int] = Field(
        description="How many images stand how: `waiting` for room in the queue, `refused` with a problem, "
        "`expired` where the explanation is gone; the others as their explanations do."
    )
    progress: float = Field(description="Share of images that have ended, 0..1.")
    annotations: AnnotationSummary | None = Field(
        None, description="How much of the annotations is used; null where it came without."
    )
    created_at: datetime
    expires_at: datetime = Field(description="Put off until all its explanations have ended.")
    links: dict[str, str]


class ItemView(StoredModel):
    """One image of a batch."""

    index: int = Field(description="Place in the batch, from 0.")
    name: str = Field(description="Name in the archive, URL, or id.")
    status: ItemStatus
    error: Failure | None = Field(description="Why this image was refused.")
    explanation: ExplanationView | None


def view_of_batch(batch: BatchRecord, batches: BatchStore) -> BatchView:
    """Return what a client sees of a batch."""
    counts = counts_of(batch, batches)
    url = f"{root_path()}/v1/batches/{batch.id}"
    parts = {part.partition(".")[0]: f"{url}/{part}" for part in _PARTS}
    report = {} if batch.annotations is None else {"report": f"{url}/report"}
    return BatchView(
        id=batch.id,
        status=batch_status(batch, counts),
        model=batch.request.model,
        method=batch.request.method,
        parameters=batch.request.parameters,
        total=batch.total,
        counts=counts,
        progress=round(fraction_done(batch, counts), 4),
        annotations=batch.annotations,
        created_at=batch.created_at,
        expires_at=batches.expiry(batch.id),
        links={"self": url, **parts, **report},
    )


def view_of_item(
    batch: BatchRecord, item: BatchItem, record: ExplanationRecord | None, audit: ExplanationRecord | None = None
) -> ItemView:
    """Return what a client sees of one image of a batch, with its explanation and audit."""
    return ItemView(
        index=item.index,
        name=item.name,
        status=item_status(batch, item, record.status if record else None),
        error=item.error,
        explanation=view(record, None, audit=audit) if record else None,
    )
