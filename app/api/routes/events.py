"""Follow an explanation: server-sent events, from the stream that every change of it writes."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import Reader, ServicesDep, existing_audit, existing_record
from app.api.openapi_components import PROBLEMS
from app.contract.audits import audited_id
from app.contract.schemas import ExplanationRecord, Failure, Progress, Status, StoredModel, StoredStatus
from app.explanations.events import StreamEntry
from app.explanations.views import explanation_path, map_links
from app.services import Services

router = APIRouter(prefix="/v1/explanations", tags=["explanations"], responses=PROBLEMS)

_REPORTS = {"progress", "preview"}
_EXAMPLE = """event: progress
data: {"id":"5f1c","status":"running","progress":{"masks":512,"total":4096},"targets":[]}
id: 1763800000000-0

event: succeeded
data: {"id":"5f1c","status":"succeeded","targets":[{"index":0,"links":{"npy":"/v1/explanations/5f1c/maps/0.npy"}}]}
id: 1763800001000-0

"""
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events; comments (`: ping`) keep the connection open while nothing happens.",
        "content": {"text/event-stream": {"example": _EXAMPLE}},
    },
    204: {"description": "It has ended, and `Last-Event-ID` is its end: there is nothing to come back for."},
}


class MapLinks(StoredModel):
    """Where the map of one target is; while the explanation runs, it is the running map."""

    index: int
    links: dict[str, str] = Field(description="Addresses of the map, by format.")


class ExplanationEvent(StoredModel):
    """What an event says of its explanation."""

    id: str
    status: StoredStatus
    progress: Progress | None = None
    targets: list[MapLinks] = Field(default_factory=list, description="Where maps have changed; else empty.")
    error: Failure | None = Field(None, description="Why it failed.")


@dataclass(frozen=True)
class Place:
    """Where in the events of which explanation or audit a client is.

    Attributes:
        record_id: what it follows.
        after: the last event that it has; `0` for none.
        over: whether it has had the last one.
    """

    record_id: str
    after: str
    over: bool


LastEventId = Annotated[
    str | None, Header(pattern=r"^[0-9]{1,18}(-[0-9]{1,18})?$", description="Go on after this event.")
]


async def _place(
    explanation_id: str,
    response: Response,
    services: ServicesDep,
    caller: Reader,
    last_event_id: LastEventId = None,
) -> Place:
    """Find the explanation before the stream begins: afterwards there is no status left to say what is wrong."""
    record = await run_in_threadpool(existing_record, services, caller, explanation_id)
    return await _place_in(services, record, last_event_id, response)


async def _audit_place(
    explanation_id: str,
    response: Response,
    services: ServicesDep,
    caller: Reader,
    last_event_id: LastEventId = None,
) -> Place:
    record = await run_in_threadpool(existing_audit, services, caller, explanation_id)
    return await _place_in(services, record, last_event_id, response)


async def _place_in(
    services: Services, record: ExplanationRecord, last_event_id: str | None, response: Response
) -> Place:
    after = last_event_id or "0"
    over = record.status.ended and not await services.events.read_after(record.id, after)
    if over:
        response.status_code = 204  # because this is what stops a browser from coming back
    return Place(record.id, after, over)


@router.get(
    "/{explanation_id}/events",
    operation_id="followExplanation",
    response_class=EventSourceResponse,
    responses=_ANSWERS,
)
async def follow(place: Annotated[Place, Depends(_place)], services: ServicesDep) -> AsyncIterator[ServerSentEvent]:
    """Send what has happened, then what happens: `queued`, `running`, `progress`, `preview`, and the end.

    `preview` says that the running maps are better now, and where they are; `succeeded`, `failed` or `cancelled` ends
    the stream. Of several reports that are ready at once only the newest is sent, so a slow reader falls behind in
    detail, not in time. An explanation that is deleted counts as cancelled.
    """
    async for event in _events(place, services):
        yield event


@router.get(
    "/{explanation_id}/audit/events",
    operation_id="followAudit",
    response_class=EventSourceResponse,
    responses=_ANSWERS,
)
async def follow_audit(
    place: Annotated[Place, Depends(_audit_place)], services: ServicesDep
) -> AsyncIterator[ServerSentEvent]:
    """Send what has happened to an audit, then what happens, as the events of an explanation: its end is among these.

    The stream of the explanation has its own end, and says nothing of the audit. Progress is in passes.
    """
    async for event in _events(place, services):
        yield event


async def _events(place: Place, services: Services) -> AsyncIterator[ServerSentEvent]:
    if place.over:
        return
    async with aclosing(services.events.follow(place.record_id, after=place.after)) as batches:
        async for changes in batches:
            for change in _newest_reports(changes):
                yield ServerSentEvent(id=change.id, event=change.event, data=_said(change))
            if changes[-1].ends:
                return
    if services.events.shutting_down:
        return  # because it goes on, and its reader comes back to another front end
    explanation_id = audited_id(place.record_id) or place.record_id
    yield ServerSentEvent(event="cancelled", data=ExplanationEvent(id=explanation_id, status=Status.CANCELLED))


def _newest_reports(changes: Sequence[StreamEntry]) -> Iterator[StreamEntry]:
    newest = {change.event: change.id for change in changes if change.event in _REPORTS}
    return (change for change in changes if newest.get(change.event, change.id) == change.id)


def _said(change: StreamEntry) -> ExplanationEvent:
    audited = audited_id(change.data["id"])
    if audited is not None:
        change = StreamEntry(change.id, change.event, {**change.data, "id": audited, "targets": 0})
    here, fills = explanation_path(change.data["id"]), change.data.get("fills", 1)
    return ExplanationEvent(
        id=change.data["id"],
        status=change.data.get("status", Status.RUNNING),
        progress=change.data.get("progress"),
        targets=[
            MapLinks(index=index, links=map_links(here, index, fills)) for index in range(change.data.get("targets", 0))
        ],
        error=change.data.get("error"),
    )
