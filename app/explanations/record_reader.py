"""Explanations as they are stored, read on the event loop: many in one message, each once."""

from collections.abc import Mapping, Sequence

from redis.asyncio import Redis

from app.contract.redis.keys import record_key

RawRecord = Mapping[bytes, bytes]
"""An explanation's hash, empty where there is none; `store.record_of` reads it."""


async def read_raw_records(redis: Redis, explanation_ids: Sequence[str]) -> list[RawRecord]:
    """Return explanations as they are stored, in the order of their ids.

    Raises:
        RedisError: where the server does not answer.
    """
    names = list(dict.fromkeys(explanation_ids))
    async with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.hgetall(record_key(name))
        found = dict(zip(names, await pipeline.execute(), strict=True))
    return [found[name] for name in explanation_ids]
