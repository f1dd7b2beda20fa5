"""Explanations as clients see them: the stored record with links, without what is internal."""

from datetime import datetime

from pydantic import Field

from app.contract.schemas import (
    ExplanationRecord,
    Failure,
    ImageInfo,
    JsonObject,
    ModelRef,
    Progress,
    Provenance,
    Status,
    StoredModel,
    TargetResult,
)
from app.explanations.root_path import root_path
from app.rendering.formats import format_names_for


class TargetView(TargetResult):
    """One target, with the addresses of its map in every format."""

    links: dict[str, str] = Field(description="Addresses of the map, by format.")


class ExplanationView(StoredModel):
    """An explanation: what was asked, how far it is, what came out."""

    id: str
    status: Status
    model: ModelRef
    method: str
    parameters: JsonObject = Field(description="All of them, defaults filled in.")
    image: ImageInfo
    progress: Progress | None
    targets: list[TargetView]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime
    queue_position: int | None = Field(description="Jobs that stand before this one; null where it does not wait.")
    eta_seconds: float | None = Field(description="Estimated seconds until it has ended; null where nothing is known.")
    error: Failure | None
    provenance: Provenance | None
    consistency: float | None = Field(
        None,
        description="Largest difference between the model's answers to the image alone, among masked ones, and at the "
        "end, as a probability or match; null before the end, and without evidence.",
    )
    links: dict[str, str]


class ExplanationSummaryView(StoredModel):
    """An explanation in short, as lists show it: without parameters, targets and provenance."""

    id: str
    status: Status
    model: ModelRef
    method: str
    image: ImageInfo
    progress: Progress | None
    created_at: datetime
    finished_at: datetime | None
    expires_at: datetime
    error: Failure | None
    links: dict[str, str]


def explanation_path(explanation_id: str) -> str:
    """Return the address of an explanation."""
    return f"{root_path()}/v1/explanations/{explanation_id}"


def _progress(record: ExplanationRecord) -> Progress | None:
    """Return how far it is or was; what has ended takes no more time."""
    if record.progress is None or not record.status.ended:
        return record.progress
    return record.progress.model_copy(update={"eta_seconds": None})


def view(record: ExplanationRecord, queue_position: int | None, eta_seconds: float | None = None) -> ExplanationView:
    """Return what a client sees of an explanation.

    Args:
        record: what is stored.
        queue_position: jobs that stand before it; None where it does not wait.
        eta_seconds: estimated time until it has ended, while it waits; a running one tells its own.
    """
    if record.status is Status.RUNNING and record.progress is not None:
        eta_seconds = record.progress.eta_seconds
    return ExplanationView(
        id=record.id,
        status=record.status,
        model=record.request.model,
        method=record.request.method,
        parameters=record.parameters,
        image=record.image,
        progress=_progress(record),
        targets=_targets(record),
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        expires_at=record.expires_at,
        queue_position=queue_position,
        eta_seconds=eta_seconds,
        error=record.error,
        provenance=record.provenance,
        consistency=record.consistency,
        links=_links(record),
    )


def summary(record: ExplanationRecord) -> ExplanationSummaryView:
    """Return what a list shows of an explanation."""
    return ExplanationSummaryView(
        id=record.id,
        status=record.status,
        model=record.request.model,
        method=record.request.method,
        image=record.image,
        progress=_progress(record),
        created_at=record.created_at,
        finished_at=record.finished_at,
        expires_at=record.expires_at,
        error=record.error,
        links=_links(record),
    )


def _links(record: ExplanationRecord) -> dict[str, str]:
    here = explanation_path(record.id)
    links = {"self": here, "events": f"{here}/events", "image": f"{here}/image"}
    return links if record.status.ended else {**links, "cancel": f"{here}/cancel"}


def map_links(here: str, index: int, fills: int = 1) -> dict[str, str]:
    """Return the addresses of one target's map, by format; of several fills, without formats that show only one."""
    return {name: f"{here}/maps/{index}.{ending}" for name, ending in format_names_for(fills).items()}


def _targets(record: ExplanationRecord) -> list[TargetView]:
    here, fills = explanation_path(record.id), 1 if record.state is None else len(record.state.fills)
    return [TargetView(**target.model_dump(), links=map_links(here, target.index, fills)) for target in record.targets]
