"""A queue in Redis whose items are leased: at-least-once delivery with a visibility timeout.

An item stays in the queue until it is acknowledged. A consumer leases it for a while; if the consumer dies, the item is
due again at the end of the lease. A lease that is over can neither acknowledge nor postpone the item: its token is the
time of its end.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline

from app.contract.lua_scripts import lua

ContentPlace = Callable[[str], tuple[str, str]]
"""Returns key and field of the hash that has the content of an item."""


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
    """A queue with leases.

    Args:
        redis: client with byte replies.
        key: of the sorted set of items by the time at which they are due.
        content: place of an item's content; None if items have none. An item whose content is gone is removed.
        keep_seconds: how long keys live after the last write; None if their expiry is set elsewhere.
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
        """Return the number of items, leased or not."""
        return int(self._redis.zcard(self._key))

    def put(self, item: str, content: str = "", *, seconds: float = 0.0, pipeline: Pipeline | None = None) -> None:
        """Add an item, or replace the one of its name.

        Args:
            item: its name.
            content: of the item.
            seconds: until it is due.
            pipeline: a transaction that it becomes part of.
        """
        self._write(item, due=seconds, content=content, client=pipeline)

    def lease(self, count: int, *, seconds: float) -> list[Lease]:
        """Return items that are due, the oldest first, leased for `seconds`."""
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
        """Remove a leased item, and replace or delete its content; return False if the lease is over."""
        return self._write(lease.id, token=lease.token, due="", content=content)

    def nack(self, lease: Lease, content: str = "", *, seconds: float) -> bool:
        """Release a leased item to be due after a pause, with new content if given; return False as `ack`."""
        return self._write(lease.id, token=lease.token, due=seconds, content=content)

    def update(self, lease: Lease, content: str) -> bool:
        """Replace the content of a leased item; return False as `ack`."""
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
