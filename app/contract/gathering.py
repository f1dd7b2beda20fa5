"""Explanations as they are stored, for readers on the event loop; those who ask together are answered together.

While one question to Redis is on its way, others gather and become the next one. A process that is asked for a thousand
states a second so sends Redis a fraction of as many messages, and two who ask for the same explanation cost as much as
one.
"""

import asyncio
from asyncio import Future
from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from app.contract.names import record_key

Stored = Mapping[bytes, bytes]


class Gathering:
    """Reads explanations.

    Args:
        redis: client for the event loop; whoever made it closes it.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._asked: dict[str, Future[Stored]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def stored(self, explanation_id: str) -> Stored:
        """Return an explanation as it is stored (`store.record_of` reads it); empty where there is none.

        Raises:
            RedisError: where the server does not answer.
        """
        answer = self._asked.get(explanation_id)
        if answer is None:
            answer = self._asked[explanation_id] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._keep_asking())
        return await asyncio.shield(answer)  # because whoever gives up must not take the answer from others

    async def _keep_asking(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                found = await self._ask(list(asked))
            except Exception as error:  # whatever it is, it is the askers' answer
                for answer in asked.values():
                    answer.set_exception(error)
                continue
            for answer, stored in zip(asked.values(), found, strict=True):
                answer.set_result(stored)

    async def _ask(self, explanation_ids: list[str]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for explanation_id in explanation_ids:
                pipeline.hgetall(record_key(explanation_id))
            return list(await pipeline.execute())
