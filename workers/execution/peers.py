"""The other workers of a queue: who has the same model and nothing to do, and how they are called in."""

from dataclasses import dataclass

from redis import Redis

from app.contract.queue.jobs import JobQueue
from app.contract.schemas import ModelRef
from app.contract.worker_registry import announcements
from workers.execution.shards import ShardQueue


@dataclass(frozen=True)
class PeerWorkers:
    """What a worker knows of the others.

    Attributes:
        redis: where they announce themselves.
        jobs: how they are called in.
        shards: what is handed out to them.
        queue: which all of them take from.
        worker: name of this one.
        worth_seconds: an explanation that takes longer is worth calling somebody in.
    """

    redis: Redis
    jobs: JobQueue
    shards: ShardQueue
    queue: str
    worker: str
    worth_seconds: float

    def call_in(self, explanation_id: str, model: ModelRef) -> int:
        """Ask everybody who has a model and nothing to do to assist, and return how many were asked."""
        suited = [
            one.worker
            for one in announcements(self.redis)
            if one.queue == self.queue
            and one.worker != self.worker
            and any((card.id, card.digest, card.state) == (model.id, model.digest, "ready") for card in one.models)
        ]
        idle = self.jobs.idle(suited)
        return self.jobs.call_in(self.queue, explanation_id, len(idle)) if idle else 0

    def is_wanted_elsewhere(self) -> bool:
        """Return whether something waits that is more than assisting."""
        return self.jobs.something_waits(self.queue)
