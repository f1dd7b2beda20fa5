"""Tasks to be done later: kept in Redis until they are done, by any front end.

A front end that answers "later" may die before it comes to it. So the task stands here, and whichever front end leases
it does it: at least once, and whoever does it sees to it that twice does not show.
"""

from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import Field
from redis import Redis

from app.contract.redis.keys import delayed_tasks_key, due_tasks_key
from app.contract.redis.leased_queue import Lease, LeasedQueue
from app.contract.schemas import JsonObject, StoredModel, read_all

_KEEP_SECONDS = 7 * 86_400  # after the last task of a kind: nobody is left who would do them


class DelayedTask(StoredModel):
    """Something to be done later.

    Attributes:
        id: there is one task of an id at a time; a newer one takes the place of an older.
        content: what is to be done, in the words of whoever does it.
        made_at: when it was put off.
    """

    id: str
    content: JsonObject
    made_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class LeasedTask(NamedTuple):
    """A task that is leased."""

    lease: Lease
    task: DelayedTask


class DelayedTasks:
    """Tasks of one kind.

    Args:
        redis: client with byte replies.
        kind: who does them.
    """

    def __init__(self, redis: Redis, kind: str) -> None:
        contents = delayed_tasks_key(kind)
        self._queue = LeasedQueue(
            redis, due_tasks_key(kind), content=lambda task_id: (contents, task_id), keep_seconds=_KEEP_SECONDS
        )

    def __len__(self) -> int:
        """Return how many tasks there are."""
        return len(self._queue)

    def schedule(self, task: DelayedTask, *, seconds: float) -> None:
        """Add a task, to be due after so many seconds."""
        self._queue.put(task.id, task.model_dump_json(), seconds=seconds)

    def lease(self, count: int, *, seconds: float) -> list[LeasedTask]:
        """Return tasks that are due, the oldest first; nobody else gets them until `seconds` have passed."""
        leases = self._queue.lease(count, seconds=seconds)
        return [LeasedTask(lease, task) for lease in leases for task in read_all(DelayedTask, [lease.content])]

    def reschedule(self, leased: LeasedTask, task: DelayedTask, *, seconds: float) -> bool:
        """Put what is left of a leased task in its place, to be due after a pause; False where the lease is over."""
        return self._queue.nack(leased.lease, task.model_dump_json(), seconds=seconds)

    def complete(self, leased: LeasedTask) -> bool:
        """Remove a leased task, because it is done or cannot be; False where the lease is over."""
        return self._queue.ack(leased.lease)

    def cancel(self, task_id: str) -> None:
        """Remove a task, if there is one."""
        self._queue.remove(task_id)
