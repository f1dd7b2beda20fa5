"""How far a batch is: the status of each member, and how many have which."""

from collections import Counter
from typing import Literal

from app.batches.store import BatchItem, BatchRecord, BatchStore
from app.contract.schemas import Status

ItemStatus = Literal["waiting", "refused", "queued", "running", "succeeded", "failed", "cancelled", "expired"]
BatchStatus = Literal["running", "finished", "cancelled"]

_UNDER_WAY = {"waiting", "queued", "running"}


def item_status(batch: BatchRecord, member: BatchItem, explained: Status | None) -> ItemStatus:
    """Return how a member stands.

    Args:
        batch: whose it is.
        member: the member.
        explained: status of its explanation; None where there is none (any more).
    """
    if member.error is not None:
        return "refused"
    if member.explanation is None:
        return "waiting" if batch.cancelled_at is None else "cancelled"
    return "expired" if explained is None else explained.value


def counts_of(batch: BatchRecord, batches: BatchStore) -> dict[ItemStatus, int]:
    """Return how many members have which status; only statuses that some member has."""
    members = batches.members(batch.id, range(batch.total))
    statuses = batches.statuses(members)
    pairs = zip(members, statuses, strict=True)
    return dict(Counter(item_status(batch, member, explained) for member, explained in pairs))


def batch_status(batch: BatchRecord, counts: dict[ItemStatus, int]) -> BatchStatus:
    """Return how a batch stands."""
    if batch.cancelled_at is not None:
        return "cancelled"
    return "running" if _UNDER_WAY & set(counts) else "finished"


def fraction_done(batch: BatchRecord, counts: dict[ItemStatus, int]) -> float:
    """Return the share of members that have ended, 0..1."""
    return 1 - sum(count for status, count in counts.items() if status in _UNDER_WAY) / batch.total
