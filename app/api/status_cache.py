"""Status reads: what clients ask for more often than anything else.

They are answered on the event loop, because a thread's turn would cost more than all the rest. What a client sees of an
explanation that does not wait is a function of its stored form alone, so it is written once and kept for as long as
the stored form, which is read every time, stays the same.
"""

from dataclasses import dataclass

from fastapi import Response

from app.api.conditional_requests import etag, etag_matches
from app.auth.principal import Principal
from app.contract.explanations.store import parse_record
from app.contract.schemas import Status
from app.explanations.coalescer import RequestCoalescer
from app.explanations.record_reader import RawRecord
from app.explanations.views import view
from app.recent import LRUCache

_KEPT = 200  # with a few kilobytes each: those that run, and some of those that have just ended


@dataclass(frozen=True)
class CachedResponse:
    """What a client sees of an explanation.

    Attributes:
        body: JSON.
        tag: its entity tag.
    """

    body: bytes
    tag: str

    @classmethod
    def of(cls, text: str) -> "CachedResponse":
        """Return what a client sees."""
        return cls(text.encode(), etag(text))

    def response(self, if_none_match: str | None) -> Response:
        """Return the answer to a client that may have a copy."""
        headers = {"ETag": self.tag, "Cache-Control": "private, no-cache"}
        if etag_matches(self.tag, if_none_match):
            return Response(status_code=304, headers=headers)
        return Response(self.body, media_type="application/json", headers=headers)


class StatusReadCache:
    """Answers status reads.

    Args:
        explanations: reads them.
    """

    def __init__(self, explanations: RequestCoalescer[str, RawRecord]) -> None:
        self._explanations = explanations
        self._written = LRUCache[tuple[RawRecord, str, CachedResponse]](_KEPT)

    async def shown(self, caller: Principal, explanation_id: str) -> CachedResponse | None:
        """Return what a caller sees of an explanation that runs or has ended; None for every other."""
        stored = await self._explanations.answer(explanation_id)
        written = self._written.get(explanation_id)
        if written is None or written[0] != stored:
            record = parse_record(stored)
            if record is None or record.status is Status.QUEUED:
                return None
            written = stored, record.tenant, CachedResponse.of(view(record, None).model_dump_json())
            self._written.keep(explanation_id, written)
        _, tenant, shown = written
        return shown if tenant == caller.tenant else None
