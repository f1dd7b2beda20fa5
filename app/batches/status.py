"""The status of a batch: of each item, and how many items have which."""

from collections import Counter
from typing import Literal

from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.schemas import Status

ItemStatus = Literal["waiting", "refused", "queued", "running", "succeeded", "failed", "cancelled", "expired"]
BatchStatus = Literal["running", "finished", "cancelled"]

ACTIVE = {"waiting", "queued", "running"}


def item_status(batch: BatchRecord, item: BatchItem, explained: Status | None) -> ItemStatus:
    """Return the status of an item.

    Args:
        batch: that it belongs to.
        item: one of its images.
        explained: status of its explanation; None if that is gone.
    """
    if item.error is not None:
        return "refused"
    if item.explanation is None:
        return "waiting" if batch.cancelled_at is None else "cancelled"
    return "expired" if explained is None else explained.value


def counts_of(batch: BatchRecord, batches: BatchStore) -> dict[ItemStatus, int]:
    """Return the number of items by status; statuses of no item are left out."""
    items = batches.members(batch.id, range(batch.total))
    statuses = batches.statuses(items)
    pairs = zip(items, statuses, strict=True)
    return dict(Counter(item_status(batch, item, explained) for item, explained in pairs))


def batch_status(batch: BatchRecord, counts: dict[ItemStatus, int]) -> BatchStatus:
    """Return the status of a batch."""
    if batch.cancelled_at is not None:
        return "cancelled"
    return "running" if ACTIVE & set(counts) else "finished"


def fraction_done(batch: BatchRecord, counts: dict[ItemStatus, int]) -> float:
    """Return the share of items that have ended, 0..1."""
    return 1 - sum(count for status, count in counts.items() if status in ACTIVE) / batch.total
