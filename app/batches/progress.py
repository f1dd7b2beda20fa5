"""How far a batch is: the status of each member, and how many have which."""

from collections import Counter
from typing import Literal

from app.contract.batches import Batch, Batches, Member
from app.contract.schemas import Status

MemberStatus = Literal["waiting", "refused", "queued", "running", "succeeded", "failed", "cancelled", "expired"]
BatchStatus = Literal["running", "finished", "cancelled"]

_UNDER_WAY = {"waiting", "queued", "running"}


def status_of(batch: Batch, member: Member, explained: Status | None) -> MemberStatus:
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


def counts_of(batch: Batch, batches: Batches) -> dict[MemberStatus, int]:
    """Return how many members have which status; only statuses that some member has."""
    members = batches.members(batch.id, range(batch.total))
    statuses = batches.statuses(members)
    pairs = zip(members, statuses, strict=True)
    return dict(Counter(status_of(batch, member, explained) for member, explained in pairs))


def status_of_all(batch: Batch, counts: dict[MemberStatus, int]) -> BatchStatus:
    """Return how a batch stands."""
    if batch.cancelled_at is not None:
        return "cancelled"
    return "running" if _UNDER_WAY & set(counts) else "finished"


def share_ended(batch: Batch, counts: dict[MemberStatus, int]) -> float:
    """Return the share of members that have ended, 0..1."""
    return 1 - sum(count for status, count in counts.items() if status in _UNDER_WAY) / batch.total
