"""Batches as clients see them."""

from datetime import datetime

from pydantic import Field

from app.batches.progress import BatchStatus, MemberStatus, counts_of, share_ended, status_of, status_of_all
from app.contract.batches import Batch, Batches, Member
from app.contract.schemas import Failure, JsonObject, ModelRef, Record, StoredModel
from app.views import Explanation, view

_PARTS = ("explanations", "archive", "coco.json", "label-studio.json", "label-config.xml", "cancel")


class BatchView(StoredModel):
    """A batch: what was asked, how far it is."""

    id: str
    status: BatchStatus
    model: ModelRef
    method: str
    parameters: JsonObject
    total: int = Field(description="How many images it has.")
    counts: dict[MemberStatus, int] = Field(
        description="How many images stand how: `waiting` for room in the queue, `refused` with a problem, "
        "`expired` where the explanation is gone; the others as their explanations do."
    )
    progress: float = Field(description="Share of images that have ended, 0..1.")
    created_at: datetime
    expires_at: datetime = Field(description="Put off until all its explanations have ended.")
    links: dict[str, str]


class MemberView(StoredModel):
    """One image of a batch."""

    index: int = Field(description="Place in the batch, from 0.")
    name: str = Field(description="Name in the archive, URL, or id.")
    status: MemberStatus
    error: Failure | None = Field(description="Why this image was refused.")
    explanation: Explanation | None


def view_of_batch(batch: Batch, batches: Batches) -> BatchView:
    """Return what a client sees of a batch."""
    counts = counts_of(batch, batches)
    here = f"/v1/batches/{batch.id}"
    parts = {part.partition(".")[0]: f"{here}/{part}" for part in _PARTS}
    return BatchView(
        id=batch.id,
        status=status_of_all(batch, counts),
        model=batch.request.model,
        method=batch.request.method,
        parameters=batch.request.parameters,
        total=batch.total,
        counts=counts,
        progress=round(share_ended(batch, counts), 4),
        created_at=batch.created_at,
        expires_at=batches.expiry(batch.id),
        links={"self": here, **parts},
    )


def view_of_member(batch: Batch, member: Member, record: Record | None) -> MemberView:
    """Return what a client sees of one image of a batch."""
    return MemberView(
        index=member.index,
        name=member.name,
        status=status_of(batch, member, record.status if record else None),
        error=member.error,
        explanation=view(record, None) if record else None,
    )
