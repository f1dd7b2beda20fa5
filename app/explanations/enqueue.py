"""New explanations: stored and put on their queue by one script, so that there is never one without the other."""

import json
from collections.abc import Sequence
from typing import Any

from redis import Redis

from app.contract.explanations.store import ExplanationStore
from app.contract.lua_scripts import lua
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import JobQueue, enqueue_keys
from app.contract.queue.rq_compat import JOB_PREFIX
from app.contract.schemas import ExplanationRecord


class ExplanationCreator:
    """Creates explanations together with their jobs.

    Args:
        redis: where the script runs.
        store: builds the arguments of the record.
        jobs: builds the arguments of the job.
    """

    def __init__(self, redis: Redis, store: ExplanationStore, jobs: JobQueue) -> None:
        self._store = store
        self._jobs = jobs
        self._script = redis.register_script(lua("create_and_enqueue"))

    def create(self, record: ExplanationRecord, queue_name: str, tags: SchedulingTags) -> tuple[bool, int | None]:
        """Store and enqueue an explanation.

        Returns:
            Whether it is new: False where the same one is queued, running or succeeded already. And how many jobs
            stand before it; None where it has not moved.

        Raises:
            RedisError: where the server does not answer, or accepts no writes; it may be stored all the same.
        """
        keys, record_arguments = self._store.creation(record)
        *job, last = self._jobs.job(queue_name, record.id, tags)
        created, position = self._script(
            keys=[*keys, *enqueue_keys(queue_name, record.id)],
            args=[_json_of_texts(record_arguments), _json_of_texts(job), last, JOB_PREFIX],
        )
        return bool(created), self._jobs.settled(int(position), queue_name, record.id, tags)


def _json_of_texts(arguments: Sequence[Any]) -> str:
    """Return arguments as Redis gets them one by one: all are texts, because Lua numbers hold fewer digits."""
    return json.dumps([part if isinstance(part, str) else str(part) for part in arguments])
