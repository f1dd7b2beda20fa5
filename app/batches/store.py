"""Batches in Redis: many images with one request.

A batch is a value, its items are a hash; a list has the items that wait to be submitted, and a hash those in flight,
with their explanations. An open batch is an item of a leased queue: if a front end dies, another one continues it.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from redis import Redis
from redis.exceptions import WatchError

from app.auth.api_keys import Limits
from app.contract.lua_scripts import lua
from app.contract.redis.keys import (
    OPEN_BATCHES,
    batch_in_flight_key,
    batch_items_key,
    batch_key,
    batch_waiting_key,
    record_key,
)
from app.contract.redis.leased_queue import Lease, LeasedQueue
from app.contract.schemas import Box, CanonicalRequest, Failure, Status, StoredModel, StoredStatus, unknown_as
from app.contract.survey import Explained

_STATUS: TypeAdapter[Status] = TypeAdapter(StoredStatus)


class EntryError(StoredModel):
    """What is wrong with one entry of a file: a JSON pointer into the request, and words."""

    field: str
    detail: str


class AnnotationSummary(StoredModel):
    """How much of a file of annotations is used."""

    images: int = Field(description="Images that have annotations.")
    objects: int
    unexplained: int = Field(
        0,
        description="Objects that are not explained, because an image has 20 targets at most: of a detector its "
        "largest objects, of a classifier its first classes by index.",
    )
    error_count: int = Field(0, description="Entries that cannot be used.")
    errors: list[EntryError] = Field(default_factory=list, description="The first hundred of them.")


class BatchItem(StoredModel):
    """One image of a batch.

    Attributes:
        source: index in the uploaded archive, URL, or id of an upload, by `kind`.
        labels: class indices that are explained in the place of the request's targets; None: those.
        boxes: of a detector, the object of each label.
        created: whether this batch created the explanation, and cancels it; False if it existed already.
        error: why it has no explanation.
    """

    index: int
    name: str
    kind: Literal["entry", "url", "id"]
    source: str
    labels: list[int] | None = None
    boxes: list[Box] | None = None
    explanation: str | None = None
    created: bool = False
    error: Failure | None = None


class BatchRecord(StoredModel):
    """One request for many images."""

    id: str
    tenant: str
    key: str | None = Field(None, description="Id of the API key whose quota its explanations use.")
    limits: Limits = Limits()
    request: CanonicalRequest
    callback: str | None = None
    annotations: AnnotationSummary | None = None
    explain: Annotated[Explained, unknown_as("annotated")] | None = None
    audit: bool = False
    total: int = Field(description="How many images it has.")
    created_at: datetime
    origin: dict[str, str] = Field(default_factory=dict, description="Request id and trace that it came from.")
    cancelled_at: datetime | None = None


class BatchStore:
    """Reads and changes batches.

    Args:
        redis: client with byte replies.
        keep_seconds: how long a batch lives after its last change.
    """

    def __init__(self, redis: Redis, *, keep_seconds: int) -> None:
        self._redis = redis
        self._keep_seconds = keep_seconds
        self._open = LeasedQueue(redis, OPEN_BATCHES)
        self._settle = redis.register_script(lua("settle_batch_item"))

    def create(self, batch: BatchRecord, members: Sequence[BatchItem]) -> bool:
        """Store a new batch and open it; items that have an error already do not wait.

        Returns:
            False if there is a batch of this id already, which is not changed.
        """
        texts: dict[Any, Any] = {str(member.index): member.model_dump_json(exclude_none=True) for member in members}
        waiting = [member.index for member in members if member.error is None]
        with self._redis.pipeline() as pipeline:
            pipeline.watch(batch_key(batch.id))  # type: ignore[no-untyped-call]  # because redis-py has not typed it
            if pipeline.exists(batch_key(batch.id)):
                return False
            pipeline.multi()
            pipeline.set(batch_key(batch.id), batch.model_dump_json())
            pipeline.hset(batch_items_key(batch.id), mapping=texts)
            if waiting:
                pipeline.rpush(batch_waiting_key(batch.id), *waiting)
            self._open.put(batch.id, pipeline=pipeline)
            self._expire(pipeline, batch.id)
            try:
                pipeline.execute()
            except WatchError:  # because another request created it concurrently
                return False
        return True

    def read(self, batch_id: str) -> BatchRecord | None:
        """Return a batch; None if there is none."""
        found: Any = self._redis.get(batch_key(batch_id))
        return None if found is None else BatchRecord.model_validate_json(found)

    def expiry(self, batch_id: str) -> datetime:
        """Return when a batch expires unless it changes."""
        seconds: Any = self._redis.ttl(batch_key(batch_id))
        return datetime.now(UTC) + timedelta(seconds=max(0, seconds))

    def members(self, batch_id: str, indices: Iterable[int]) -> list[BatchItem]:
        """Return items by their indices, without those that do not exist."""
        names = [str(index) for index in indices]
        found: Any = self._redis.hmget(batch_items_key(batch_id), names) if names else []
        return [BatchItem.model_validate_json(text) for text in found if text is not None]

    def statuses(self, members: Sequence[BatchItem]) -> list[Status | None]:
        """Return the status of each item's explanation; None if there is none (any more)."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for member in members:
                pipeline.hget(record_key(member.explanation or ""), "status")
            return [None if found is None else _STATUS.validate_json(found) for found in pipeline.execute()]

    def lease(self, count: int, *, seconds: float) -> list[Lease]:
        """Return open batches that are due; leased for `seconds`."""
        leases = self._open.lease(count, seconds=seconds)
        with self._redis.pipeline(transaction=False) as pipeline:
            for lease in leases:
                pipeline.exists(batch_key(lease.id))
            found = pipeline.execute()
        for lease, there in zip(leases, found, strict=True):
            if not there:
                self._open.ack(lease)
        return [lease for lease, there in zip(leases, found, strict=True) if there]

    def release(self, lease: Lease, *, seconds: float) -> None:
        """Release a leased batch to be due again after a pause, and postpone its expiry."""
        if self._open.nack(lease, seconds=seconds):
            with self._redis.pipeline() as pipeline:
                self._expire(pipeline, lease.id)
                pipeline.execute()

    def close(self, batch_id: str) -> None:
        """Remove a batch from the open ones; its expiry is not postponed any more."""
        with self._redis.pipeline() as pipeline:
            self._open.remove(batch_id, pipeline=pipeline)
            self._expire(pipeline, batch_id)
            pipeline.execute()

    def waiting(self, batch_id: str, count: int) -> list[BatchItem]:
        """Return the first items that wait to be submitted."""
        found: Any = self._redis.lrange(batch_waiting_key(batch_id), 0, count - 1) if count > 0 else []
        return self.members(batch_id, map(int, found))

    def waiting_count(self, batch_id: str) -> int:
        """Return how many items wait to be submitted."""
        return int(self._redis.llen(batch_waiting_key(batch_id)))

    def settle(self, batch_id: str, member: BatchItem) -> bool:
        """Record the outcome of an item that waited; return False if it does not wait any more."""
        arguments: list[Any] = [member.index, member.model_dump_json(exclude_none=True), member.explanation or ""]
        keys = [batch_items_key(batch_id), batch_waiting_key(batch_id), batch_in_flight_key(batch_id)]
        return bool(self._settle(keys=keys, args=arguments))

    def remove_ended(self, batch_id: str) -> int:
        """Remove items whose explanations have ended from those in flight; return how many are left."""
        found: Any = self._redis.hkeys(batch_in_flight_key(batch_id))
        members = self.members(batch_id, map(int, found))
        statuses = self.statuses(members)
        ended = [member.index for member, status in zip(members, statuses, strict=True) if not status or status.ended]
        if ended:
            self._redis.hdel(batch_in_flight_key(batch_id), *map(str, ended))
        return len(members) - len(ended)

    def cancel(self, batch: BatchRecord) -> BatchRecord:
        """Record that a batch is cancelled, and remove its waiting items."""
        cancelled = batch.model_copy(update={"cancelled_at": batch.cancelled_at or datetime.now(UTC)})
        with self._redis.pipeline() as pipeline:
            pipeline.delete(batch_waiting_key(batch.id))
            pipeline.set(batch_key(batch.id), cancelled.model_dump_json(), xx=True, keepttl=True)
            pipeline.execute()
        return cancelled

    def delete(self, batch_id: str) -> list[BatchItem]:
        """Delete a batch, and return its items as they were.

        In one transaction: an item is settled before and returned here, or `settle` finds that the batch is gone.
        """
        with self._redis.pipeline() as pipeline:
            pipeline.hvals(batch_items_key(batch_id))
            self._open.remove(batch_id, pipeline=pipeline)
            pipeline.delete(
                batch_key(batch_id),
                batch_items_key(batch_id),
                batch_waiting_key(batch_id),
                batch_in_flight_key(batch_id),
            )
            found, *_ = pipeline.execute()
        return [BatchItem.model_validate_json(text) for text in found]

    def _expire(self, pipeline: Any, batch_id: str) -> None:
        for key in (
            batch_key(batch_id),
            batch_items_key(batch_id),
            batch_waiting_key(batch_id),
            batch_in_flight_key(batch_id),
        ):
            pipeline.expire(key, self._keep_seconds)
