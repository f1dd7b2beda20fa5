"""The explanations of a tenant, the newest first, page by page.

The index (`app/contract/explanations/store.py`) holds ids only; expired ones are skipped here and removed by
`expiry.py`.
"""

from dataclasses import dataclass
from typing import Any

from redis import Redis

from app.contract.explanations.store import ExplanationStore
from app.contract.redis.keys import index_key
from app.contract.schemas import ExplanationRecord, Status

_CHUNK = 100
_MAX_SCANNED = 1000  # entries for one page: the bound of a filter that matches nothing


@dataclass(frozen=True, order=True)
class Cursor:
    """A cursor in a tenant's index.

    Attributes:
        microsecond: of the explanation's creation.
        explanation_id: breaks ties.
    """

    microsecond: int
    explanation_id: str

    def __str__(self) -> str:
        """Return the form that clients send."""
        return f"{self.microsecond}-{self.explanation_id}"


def read_cursor(text: str) -> Cursor:
    """Return the cursor of a text.

    Raises:
        ValueError: if it is none.
    """
    microsecond, _, explanation_id = text.partition("-")
    return Cursor(int(microsecond), explanation_id)


@dataclass(frozen=True)
class Page:
    """Some explanations of a tenant.

    Attributes:
        records: the newest first.
        next: where the following page begins; None after the last.
    """

    records: list[ExplanationRecord]
    next: Cursor | None


class Listing:
    """Lists explanations.

    Args:
        redis: client with byte replies.
        store: reads what the index names.
    """

    def __init__(self, redis: Redis, store: ExplanationStore) -> None:
        self._redis = redis
        self._store = store

    def page(
        self, tenant: str, *, limit: int, after: Cursor | None = None, status: Status | None, model: str | None
    ) -> Page:
        """Return up to `limit` explanations; a page may hold fewer although there is a next one."""
        records: list[ExplanationRecord] = []
        for _ in range(_MAX_SCANNED // _CHUNK):
            cursors = self._older(tenant, after)
            for cursor, record in zip(
                cursors, self._store.read_many([cursor.explanation_id for cursor in cursors]), strict=True
            ):
                after = cursor
                if record is not None and _matches(record, status, model):
                    records.append(record)
                    if len(records) == limit:
                        return Page(records, after)
            if not cursors:
                return Page(records, None)
        return Page(records, after)

    def _older(self, tenant: str, after: Cursor | None) -> list[Cursor]:
        """Return the next cursors in the index, the newest first."""
        highest: Any = "+inf" if after is None else after.microsecond
        skipped = 0
        while True:
            found: Any = self._redis.zrange(
                index_key(tenant),
                highest,
                "-inf",
                desc=True,
                byscore=True,
                offset=skipped,
                num=_CHUNK,
                withscores=True,
            )
            cursors = [Cursor(int(score), member.decode()) for member, score in found]
            unread = [cursor for cursor in cursors if after is None or cursor < after]
            if unread or not cursors:
                return unread
            skipped += len(cursors)  # because more explanations than one reply holds were created at once


def _matches(record: ExplanationRecord, status: Status | None, model: str | None) -> bool:
    return status in {None, record.status} and model in {None, record.request.model.id}
