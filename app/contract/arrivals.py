"""New explanations: stored and put on their queue by one script, so that there is never one without the other."""

from typing import Any

from redis import Redis

from app.contract.queue import ENQUEUE, Jobs, queue_key
from app.contract.schemas import Record
from app.contract.store import CREATE, Store
from app.contract.turns import Turn

# KEYS: those of `create`, then the queue. ARGV: how many things are said to `create`, these, then the job. One that is
# there already and waits may move to a better lane.
_ARRIVE = (
    CREATE
    + ENQUEUE
    + """
local said = tonumber(ARGV[1])
local created = create(KEYS, {unpack(ARGV, 2, 1 + said)})
return {created, enqueue(KEYS[6], {unpack(ARGV, 2 + said)}, created == 1)}
"""
)


class Arrivals:
    """Lets explanations arrive.

    Args:
        redis: client with byte replies.
        store: where they are stored.
        jobs: what they become.
    """

    def __init__(self, redis: Redis, store: Store, jobs: Jobs) -> None:
        self._store = store
        self._jobs = jobs
        self._arrive = redis.register_script(_ARRIVE)

    def arrive(self, record: Record, queue_name: str, turn: Turn) -> tuple[bool, int | None]:
        """Store and enqueue an explanation.

        Returns:
            Whether it is new: False where the same one is queued, running or succeeded already. And how many jobs stand
            before it; None where it has not moved.
        """
        keys, said = self._store.creation(record)
        job = self._jobs.job(queue_name, record.id, turn)
        found: Any = self._arrive(keys=[*keys, queue_key(queue_name)], args=[len(said), *said, *job])
        return bool(found[0]), self._jobs.settled(found[1], queue_name, record.id, turn)
