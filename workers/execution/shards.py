"""One explanation's blocks handed out to several workers: who takes which, and what has come back.

The worker that runs an explanation leads; workers that would be idle assist. A *shard* is a few consecutive blocks that
one of them takes. Blocks are pure functions of seed and number (`workers/saliency/sampling.py`), so nobody has to own
one: whoever takes a shard and is lost with it costs what it takes to compute those blocks again, and two that compute
the same one deliver the same. There are thus no leases here, and nothing to clean up after a crash: the leader computes
what does not come. Assistants take no shard beyond a limit, because an explanation may stop early, and none of an
explanation that does not run any more.
"""

import json
from typing import Any, NamedTuple

from redis import Redis

from app.contract.redis.keys import delivered_shards_key, record_key, shards_key
from app.contract.schemas import Status
from app.contract.scripts import lua

SHARD_SECONDS = 0.3
"""That a shard takes, about: short, because nobody knows where an explanation will stop."""

_FORGOTTEN_SECONDS = 600  # after the last sign of anybody


class Shard(NamedTuple):
    """Consecutive blocks.

    Attributes:
        first: number of the first.
        size: how many.
    """

    first: int
    size: int

    @property
    def blocks(self) -> range:
        """The numbers of its blocks."""
        return range(self.first, self.first + self.size)


class ShardResult(NamedTuple):
    """A shard that was computed.

    Attributes:
        shard: which.
        blob: where its effects are, `[blocks, R, K, h, w]`.
        matched: per block and target, the share of masked images with a match, `[blocks, T]`.
        worker: who computed it.
    """

    shard: Shard
    blob: str
    matched: list[list[float]]
    worker: str


class ShardQueue:
    """The shards of explanations that several workers compute."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._open = redis.register_script(lua("open_shards"))
        self._claim = redis.register_script(lua("claim_shard"))
        self._collect = redis.register_script(lua("collect_shards"))
        self._close = redis.register_script(lua("close_shards"))

    def open(self, explanation_id: str, leader: str, *, first: int, limit: int, aim: str) -> None:
        """Hand out blocks from now on; what was delivered to an earlier leader stays.

        Args:
            explanation_id: whose.
            leader: the execution that leads.
            first: block from which on.
            limit: block up to which assistants go.
            aim: says what rows of effects mean; whoever finds another one must not assist.
        """
        self._open(keys=[shards_key(explanation_id)], args=[leader, first, limit, aim, _FORGOTTEN_SECONDS])

    def aim(self, explanation_id: str) -> str | None:
        """Return the aim that an explanation was opened with; None where nothing is handed out."""
        found: Any = self._redis.hget(shards_key(explanation_id), "aim")
        return None if found is None else found.decode()

    def claim(self, explanation_id: str, size: int, *, end: int | None = None) -> Shard | None:
        """Take the next blocks that nobody has taken.

        Args:
            explanation_id: whose.
            size: how many at most.
            end: block up to which; None takes the limit.

        Returns:
            An empty shard where there are none now; None where there will be none any more.
        """
        running = json.dumps(Status.RUNNING)
        arguments: list[Any] = [size, "" if end is None else end, running, _FORGOTTEN_SECONDS]
        keys = [shards_key(explanation_id), delivered_shards_key(explanation_id), record_key(explanation_id)]
        first, found = self._claim(keys=keys, args=arguments)
        return None if found < 0 else Shard(first, found)

    def deliver(self, explanation_id: str, delivery: ShardResult) -> None:
        """Hand in what was computed."""
        (first, size), blob, matched, worker = delivery
        text = json.dumps({"first": first, "size": size, "blob": blob, "matched": matched, "worker": worker})
        with self._redis.pipeline() as pipeline:
            pipeline.hset(delivered_shards_key(explanation_id), str(first), text)
            pipeline.expire(delivered_shards_key(explanation_id), _FORGOTTEN_SECONDS)
            pipeline.execute()

    def collect(self, explanation_id: str, leader: str, *, limit: int) -> list[ShardResult]:
        """Return all that was delivered, and say how far assistants may go."""
        keys = [shards_key(explanation_id), delivered_shards_key(explanation_id)]
        found = [json.loads(text) for text in self._collect(keys=keys, args=[leader, limit, _FORGOTTEN_SECONDS])]
        return [
            ShardResult(Shard(one["first"], one["size"]), one["blob"], one["matched"], one["worker"]) for one in found
        ]

    def close(self, explanation_id: str, leader: str) -> None:
        """Hand out nothing any more, unless somebody else leads by now."""
        self._close(keys=[shards_key(explanation_id), delivered_shards_key(explanation_id)], args=[leader])
