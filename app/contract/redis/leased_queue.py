"""A queue in Redis whose items are leased: at-least-once delivery with a visibility timeout.

An item stays in the queue until it is acknowledged. Whoever leases it has it alone for a while; if they die, it is due
again when the lease has run out, and another one gets it. A lease that is over can neither acknowledge nor put off the
item: it is told from others by when it ends.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from app.contract.scripts import lua

ContentPlace = Callable[[str], tuple[str, str]]
"""Returns key and field of a hash: where the content of an item stands."""


class Lease(NamedTuple):
    """An item that is leased.

    Attributes:
        id: of the item.
        token: of the lease.
        content: of the item; empty in a queue whose items have none.
    """

    id: str
    token: bytes
    content: bytes = b""


class LeasedQueue:
    """A queue.

    Args:
        redis: client with byte replies.
        key: of the sorted set of items by when they are due.
        content: where their content stands; None where they have none. An item whose content is gone leaves the queue.
        keep_seconds: how long keys live after the last write; None for those that others let expire.
    """

    def __init__(
        self, redis: Redis, key: str, *, content: ContentPlace | None = None, keep_seconds: int | None = None
    ) -> None:
        self._redis = redis
        self._key = key
        self._content = content
        self._keep_seconds = keep_seconds
        self._script = redis.register_script(lua("leased_queue"))

    def __len__(self) -> int:
        """Return how many items there are, leased or not."""
        return int(self._redis.zcard(self._key))

    def put(self, item: str, content: str = "", *, seconds: float = 0.0, pipeline: Pipeline | None = None) -> None:
        """Add an item, or replace the one of its name, to be due after so many seconds.

        Args:
            item: its name.
            content: what it is.
            seconds: until it is due.
            pipeline: a transaction to do it in.
        """
        self._write(item, due=seconds, content=content, client=pipeline)

    def lease(self, count: int, *, seconds: float) -> list[Lease]:
        """Return items that are due, the oldest first; nobody else gets them until `seconds` have passed."""
        found: Any = self._script(keys=[self._key], args=["lease", count, seconds])
        leases = [Lease(item.decode(), token) for item, token in zip(found[::2], found[1::2], strict=True)]
        return leases if self._content is None else self._with_content(leases, self._content)

    def _with_content(self, leases: list[Lease], place: ContentPlace) -> list[Lease]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for lease in leases:
                pipeline.hget(*place(lease.id))
            contents = pipeline.execute()
        for lease, content in zip(leases, contents, strict=True):
            if content is None:
                self.ack(lease)
        pairs = zip(leases, contents, strict=True)
        return [lease._replace(content=content) for lease, content in pairs if content is not None]

    def ack(self, lease: Lease, content: str = "") -> bool:
        """Remove a leased item, with its content unless something is to stand there; False where the lease is over."""
        return self._write(lease.id, token=lease.token, due="", content=content)

    def nack(self, lease: Lease, content: str = "", *, seconds: float) -> bool:
        """Give a leased item back, to be due after a pause, with other content if any is given; False as of `ack`."""
        return self._write(lease.id, token=lease.token, due=seconds, content=content)

    def update(self, lease: Lease, content: str) -> bool:
        """Replace the content of a leased item; False as of `ack`."""
        return self._write(lease.id, token=lease.token, due="leased", content=content)

    def remove(self, item: str, *, pipeline: Pipeline | None = None) -> None:
        """Remove an item, leased or not, in a transaction if one is given."""
        self._write(item, due="", client=pipeline)

    def _write(
        self, item: str, *, due: float | str, token: bytes = b"", content: str = "", client: Pipeline | None = None
    ) -> bool:
        place = () if self._content is None else self._content(item)
        field = place[1] if place else ""
        lifetime = "" if self._keep_seconds is None else self._keep_seconds
        arguments: list[Any] = ["write", item, token, due, field, content, lifetime]
        return bool(self._script(keys=[self._key, *place[:1]], args=arguments, client=client))
