"""Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): the position at which a new job is inserted.

Workers pop from one end of one RQ list, because only that is atomic; so the order is made when a job is inserted. Each
waiting explanation has a start tag: the work, in seconds, that its tenant has waiting before it, counted from the
queue's virtual time. The list is sorted by lane (interactive before batch), then by tag: tenants share the workers in
proportion to work, and a tenant with one explanation waits for at most one of each other tenant. Batch work waits while
anything interactive waits. A tenant without waiting explanations starts at the virtual time again: neither finished nor
cancelled work counts against it.

There is no state beside the queue: tags are in the job's own hash, and the virtual time is the smallest waiting tag.
One script writes job and position, so that a crash leaves nothing inconsistent. What is put at the front (short calls,
jobs requeued after a worker was lost or shut down) stays there.
"""

from dataclasses import dataclass

from app.contract.audits import budgeted_request
from app.contract.queue.throughput import ServiceTimes, mask_budget, workload_class
from app.contract.schemas import CanonicalRequest, ExplanationRecord, Priority

_LANES: dict[Priority, int] = {"interactive": 1, "batch": 2}


@dataclass(frozen=True)
class SchedulingTags:
    """What decides the position of an explanation in its queue.

    Attributes:
        tenant: among which the workers are shared.
        priority: interactive goes before batch.
        seconds: estimated work.
        work: its class of work, for later estimates (`throughput.py`).
        masks: its budget.
    """

    tenant: str
    priority: Priority = "interactive"
    seconds: float = 1.0
    work: str = ""
    masks: int = 0

    def arguments(self) -> list[str]:
        """Return the arguments of `take_place`, in its order."""
        return [str(_LANES[self.priority]), self.tenant, str(self.seconds), self.work, str(self.masks)]


def scheduling_tags(
    request: CanonicalRequest, *, tenant: str, priority: Priority, service_times: ServiceTimes
) -> SchedulingTags:
    """Return what decides where the explanation of a request waits."""
    work, masks = workload_class(request), mask_budget(request)
    return SchedulingTags(
        tenant=tenant, priority=priority, seconds=service_times.of(work) * masks, work=work, masks=masks
    )


def scheduling_tags_of(record: ExplanationRecord, service_times: ServiceTimes) -> SchedulingTags:
    """Return what decides where an explanation waits that is stored, or an audit."""
    return scheduling_tags(
        budgeted_request(record), tenant=record.tenant, priority=record.priority, service_times=service_times
    )
