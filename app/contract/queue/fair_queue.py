"""Whose turn it is: where in a queue a new job is put.

Workers take from one end of one RQ list, because only that is atomic; so the order is made where jobs are put in.
Each waiting explanation carries a start tag, as in start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): the
work, in seconds, that its tenant has waiting before it, counted from where the queue is now. The list is sorted by
lane (interactive before batch), then by tag: tenants take turns in proportion to work, and whoever comes with one
explanation waits for at most one of everybody else's, however many those have. Batch work waits for as long as anything
interactive does. A tenant of whom nothing waits any more starts anew where the queue is: what it had before is not
held against it, nor what it took back.

Nothing is kept beside the queue: tags stand in the job's own hash and go with it, and where the queue is now is the
smallest tag that waits. There is no counter that a crash could leave wrong, and no second step that could be missed:
job and place are written by one script. What is put at the front (short calls, jobs that come back from a lost or
leaving worker) has had its turn and stays there.
"""

from dataclasses import dataclass

from app.contract.queue.throughput import ServiceTimes, mask_budget, workload_class
from app.contract.schemas import CanonicalRequest, ExplanationRecord, Priority

_LANES: dict[Priority, int] = {"interactive": 1, "batch": 2}


@dataclass(frozen=True)
class SchedulingTags:
    """What decides where an explanation waits.

    Attributes:
        tenant: who takes turns with others.
        priority: interactive goes before batch.
        seconds: estimated work.
        work: what it is, for later estimates (`throughput.py`).
        masks: how many it asks for.
    """

    tenant: str
    priority: Priority = "interactive"
    seconds: float = 1.0
    work: str = ""
    masks: int = 0

    def arguments(self) -> list[str]:
        """Return what `take_place` wants to know of it, in its order."""
        return [str(_LANES[self.priority]), self.tenant, str(self.seconds), self.work, str(self.masks)]


def scheduling_tags(
    request: CanonicalRequest, *, tenant: str, priority: Priority, pace: ServiceTimes
) -> SchedulingTags:
    """Return what decides where the explanation of a request waits."""
    work, masks = workload_class(request), mask_budget(request)
    return SchedulingTags(tenant=tenant, priority=priority, seconds=pace.of(work) * masks, work=work, masks=masks)


def scheduling_tags_of(record: ExplanationRecord, pace: ServiceTimes) -> SchedulingTags:
    """Return what decides where an explanation waits that is stored."""
    return scheduling_tags(record.request, tenant=record.tenant, priority=record.priority, pace=pace)
