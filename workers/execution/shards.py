"""The blocks of one explanation distributed over several workers: who computes which, and the results.

The worker that runs an explanation coordinates; idle workers help. A *shard* is a few consecutive blocks. Blocks are
pure functions of seed and number (`workers/saliency/sampling.py`), so a shard needs no lease: a worker that is lost
with one costs the time to compute those blocks again, and two workers that compute the same shard submit the same
result. After a crash there is nothing to clean up: the coordinator computes what is not submitted. Helpers claim no
shard beyond a limit, because an explanation may stop early, and none of an explanation that does not run any more.
"""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from redis import Redis

from app.contract.lua_scripts import lua
from app.contract.queue.jobs import JobQueue
from app.contract.redis.keys import delivered_shards_key, record_key, shards_key
from app.contract.schemas import ModelRef, Status
from app.contract.worker_registry import announcements

SHARD_SECONDS = 0.3
"""The time that a shard takes, about: short, because it is not known where an explanation will stop."""

_EXPIRY_SECONDS = 600  # after the last access


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
        blob: where its blocks are, as `workers/explainer/stored_blocks.py` packs them.
        matched: per block and target, the share of masked images with a match, `[blocks, T]`.
        worker: that computed it.
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

    def open(self, explanation_id: str, coordinator: str, *, first: int, limit: int, plan_digest: str) -> None:
        """Offer blocks from now on; results for an earlier coordinator are kept.

        Args:
            explanation_id: whose.
            coordinator: the execution that coordinates.
            first: block from which on.
            limit: block before which helpers stop.
            plan_digest: what rows of effects mean; a worker with another one must not help.
        """
        self._open(keys=[shards_key(explanation_id)], args=[coordinator, first, limit, plan_digest, _EXPIRY_SECONDS])

    def plan_digest(self, explanation_id: str) -> str | None:
        """Return the digest that an explanation was opened with; None where no blocks are offered."""
        digest: Any = self._redis.hget(shards_key(explanation_id), "aim")
        return None if digest is None else digest.decode()

    def claim(self, explanation_id: str, size: int, *, end: int | None = None) -> Shard | None:
        """Claim the next blocks that no worker has claimed.

        Args:
            explanation_id: whose.
            size: how many at most.
            end: block before which to stop; None takes the limit.

        Returns:
            An empty shard where there are none now; None where there will be none any more.
        """
        running = json.dumps(Status.RUNNING)
        arguments: list[Any] = [size, "" if end is None else end, running, _EXPIRY_SECONDS]
        keys = [shards_key(explanation_id), delivered_shards_key(explanation_id), record_key(explanation_id)]
        first, claimed = self._claim(keys=keys, args=arguments)
        return None if claimed < 0 else Shard(first, claimed)

    def submit(self, explanation_id: str, result: ShardResult) -> None:
        """Store the result of a shard."""
        (first, size), blob, matched, worker = result
        text = json.dumps({"first": first, "size": size, "blob": blob, "matched": matched, "worker": worker})
        with self._redis.pipeline() as pipeline:
            pipeline.hset(delivered_shards_key(explanation_id), str(first), text)
            pipeline.expire(delivered_shards_key(explanation_id), _EXPIRY_SECONDS)
            pipeline.execute()

    def results(self, explanation_id: str, coordinator: str, *, limit: int) -> list[ShardResult]:
        """Return all results so far, and set the block before which helpers stop."""
        keys = [shards_key(explanation_id), delivered_shards_key(explanation_id)]
        values = [json.loads(text) for text in self._collect(keys=keys, args=[coordinator, limit, _EXPIRY_SECONDS])]
        return [
            ShardResult(Shard(value["first"], value["size"]), value["blob"], value["matched"], value["worker"])
            for value in values
        ]

    def close(self, explanation_id: str, coordinator: str) -> None:
        """Offer no more blocks, unless another execution coordinates by now."""
        self._close(keys=[shards_key(explanation_id), delivered_shards_key(explanation_id)], args=[coordinator])


@dataclass(frozen=True)
class PeerWorkers:
    """The other workers of a queue.

    Attributes:
        redis: where they announce themselves.
        jobs: through which they are asked for help.
        shards: that are offered to them.
        queue: which all of them take jobs from.
        worker: name of this one.
        share_after_seconds: an explanation that takes longer is shared.
    """

    redis: Redis
    jobs: JobQueue
    shards: ShardQueue
    queue: str
    worker: str
    share_after_seconds: float

    def request_help(self, explanation_id: str, model: ModelRef) -> int:
        """Enqueue a request for help for each idle worker that has a model, and return how many there are."""
        suited = [
            peer.worker
            for peer in announcements(self.redis)
            if peer.queue == self.queue
            and peer.worker != self.worker
            and any((card.id, card.digest, card.state) == (model.id, model.digest, "ready") for card in peer.models)
        ]
        idle = self.jobs.idle(suited)
        return self.jobs.enqueue_assistance(self.queue, explanation_id, len(idle)) if idle else 0

    def has_pending_work(self) -> bool:
        """Return whether other jobs than requests for help are queued."""
        return self.jobs.has_waiting_jobs(self.queue)
