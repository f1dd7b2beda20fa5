"""Delayed tasks in Redis, processed by any front end at least once; processing has to be idempotent."""

from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import Field
from redis import Redis

from app.contract.redis.keys import delayed_tasks_key, due_tasks_key
from app.contract.redis.leased_queue import Lease, LeasedQueue
from app.contract.schemas import JsonObject, StoredModel, read_all

_KEEP_SECONDS = 7 * 86_400  # after the last task of a kind: the integration is switched off


class DelayedTask(StoredModel):
    """A task for later.

    Attributes:
        id: a newer task replaces an older one of the same id.
        content: the task in the format of its integration.
        made_at: when it was created.
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
        kind: the integration that processes them.
    """

    def __init__(self, redis: Redis, kind: str) -> None:
        contents = delayed_tasks_key(kind)
        self._queue = LeasedQueue(
            redis, due_tasks_key(kind), content=lambda task_id: (contents, task_id), keep_seconds=_KEEP_SECONDS
        )

    def __len__(self) -> int:
        """Return the number of tasks."""
        return len(self._queue)

    def schedule(self, task: DelayedTask, *, seconds: float) -> None:
        """Add a task, to be due after `seconds`."""
        self._queue.put(task.id, task.model_dump_json(), seconds=seconds)

    def lease(self, count: int, *, seconds: float) -> list[LeasedTask]:
        """Return tasks that are due, the oldest first; they are leased for `seconds`."""
        leases = self._queue.lease(count, seconds=seconds)
        return [LeasedTask(lease, task) for lease in leases for task in read_all(DelayedTask, [lease.content])]

    def reschedule(self, leased: LeasedTask, task: DelayedTask, *, seconds: float) -> bool:
        """Replace a leased task, to be due after `seconds`; return False where the lease has expired."""
        return self._queue.nack(leased.lease, task.model_dump_json(), seconds=seconds)

    def complete(self, leased: LeasedTask) -> bool:
        """Remove a leased task; return False where the lease has expired."""
        return self._queue.ack(leased.lease)

    def cancel(self, task_id: str) -> None:
        """Remove a task, if there is one."""
        self._queue.remove(task_id)
