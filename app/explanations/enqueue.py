"""New explanations: stored and put on their queue by one script, so that there is never one without the other."""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from app.contract.explanations.store import ExplanationStore
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import JobQueue, enqueue_keys
from app.contract.queue.rq_compat import JOB_PREFIX
from app.contract.schemas import ExplanationRecord
from app.contract.scripts import lua


class NewExplanation(NamedTuple):
    """A new explanation, and where it is to wait."""

    record: ExplanationRecord
    queue_name: str
    turn: SchedulingTags


class ExplanationCreator:
    """Lets explanations arrive.

    Args:
        redis: client for the event loop; whoever made it closes it.
        store: where they are stored.
        jobs: what they become.
    """

    def __init__(self, redis: Redis, store: ExplanationStore, jobs: JobQueue) -> None:
        self._redis = redis
        self._store = store
        self._jobs = jobs
        self._script: Any = redis.register_script(lua("create_and_enqueue"))

    async def arrive(self, arrivals: Sequence[NewExplanation]) -> list[tuple[bool, int | None]]:
        """Store and enqueue explanations, each by itself, in one message.

        Returns:
            Of each, whether it is new: False where the same one is queued, running or succeeded already. And how many
            jobs stand before it; None where it has not moved.

        Raises:
            RedisError: where the server does not answer, or takes nothing in; some may have arrived all the same.
        """
        said = [self._said(arrival) for arrival in arrivals]
        try:
            found = await self._send(said)
        except NoScriptError:
            await self._redis.script_load(self._script.script)
            found = await self._send(said)
        return [await self._settled(arrival, *answer) for arrival, answer in zip(arrivals, found, strict=True)]

    def _said(self, arrival: NewExplanation) -> list[Any]:
        keys, said = self._store.creation(arrival.record)
        *job, last = self._jobs.job(arrival.queue_name, arrival.record.id, arrival.turn)
        keys += enqueue_keys(arrival.queue_name, arrival.record.id)
        return [len(keys), *keys, _texts(said), _texts(job), last, JOB_PREFIX]

    async def _send(self, said: Sequence[list[Any]]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for arguments in said:
                pipeline.evalsha(self._script.sha, *arguments)
            return list(await pipeline.execute())

    async def _settled(self, arrival: NewExplanation, created: int, place: int) -> tuple[bool, int | None]:
        settle = partial(self._jobs.settled, place, arrival.queue_name, arrival.record.id, arrival.turn)
        return bool(created), place if place >= 0 else await asyncio.to_thread(settle)


def _texts(said: Sequence[Any]) -> str:
    """Return things as Redis gets them one by one: all are texts, because Lua knows fewer digits."""
    return json.dumps([part if isinstance(part, str) else str(part) for part in said])
