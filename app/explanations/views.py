"""Explanations as clients see them: the stored record with links, without what is internal."""

from datetime import datetime

from pydantic import Field

from app.contract.audits import GRAD_CAM_VIEW, OPACITY_VIEW, audited_id, most_passes
from app.contract.schemas import (
    AuditCheck,
    AuditVerdict,
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


class AuditView(StoredModel):
    """The audit of an explanation: how far it is, what it found."""

    status: Status
    progress: Progress | None = Field(description="In passes: pictures that the model was asked for; null: waits.")
    passes: int | None = Field(
        description="Pictures that the model was asked for; before its end, at most; null: not known before it runs."
    )
    verdict: AuditVerdict | None = Field(description="The worst of all checks; null before the end.")
    checks: list[AuditCheck]
    limits: str | None = Field(description="What no check can see; null before the end.")
    fills: list[str] = Field(
        description="Of which there are maps, the explanation's own first: `maps/0.png?fill=grey`."
    )
    opacity: float | None = Field(description="Of which there is a map: `maps/0.png?opacity=0.3`; null: not yet.")
    methods: list[str] = Field(
        description="Of which there are maps beside ours: `maps/0.png?method=grad-cam`, of PyTorch classifiers."
    )
    error: Failure | None = Field(description="Why it failed.")
    links: dict[str, str]


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
    audit: AuditView | None = Field(None, description="Null where none was asked for.")
    audit_passes: int | None = Field(
        None,
        description="Pictures that an audit takes, at most; null before the end, and where no audit is possible.",
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


def audit_view(record: ExplanationRecord) -> AuditView:
    """Return what a client sees of an audit."""
    planned = record.progress.total if record.progress else None
    found, here = record.audit, explanation_path(audited_id(record.id) or record.id)
    drawable = {view.name: view.parameters for view in record.views if view.state.checkpoints}
    partly, grad_cam = (drawable.pop(name, None) for name in (OPACITY_VIEW, GRAD_CAM_VIEW))
    return AuditView(
        status=record.status,
        progress=None if record.status is Status.QUEUED else _progress(record),
        passes=found.passes if found else planned,
        verdict=found.verdict if found else None,
        checks=found.checks if found else [],
        limits=found.limits if found else None,
        fills=list(drawable),
        opacity=partly and partly.get("opacity"),
        methods=[] if grad_cam is None else [GRAD_CAM_VIEW],
        error=record.error,
        links={"self": f"{here}/audit", "events": f"{here}/audit/events", "explanation": here},
    )


def view(
    record: ExplanationRecord,
    queue_position: int | None,
    eta_seconds: float | None = None,
    *,
    audit: ExplanationRecord | None = None,
) -> ExplanationView:
    """Return what a client sees of an explanation.

    Args:
        record: what is stored.
        audit: what is stored of its audit; None where it has none.
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
        audit=audit_view(audit) if audit else None,
        audit_passes=most_passes(record) if record.status is Status.SUCCEEDED else None,
        links=_links(record, has_audit=audit is not None),
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


def _links(record: ExplanationRecord, *, has_audit: bool = False) -> dict[str, str]:
    here = explanation_path(record.id)
    links = {"self": here, "events": f"{here}/events", "image": f"{here}/image"}
    if has_audit:
        links["audit"] = f"{here}/audit"
    return links if record.status.ended else {**links, "cancel": f"{here}/cancel"}


def map_links(here: str, index: int, fills: int = 1) -> dict[str, str]:
    """Return the addresses of one target's map, by format; of several fills, without formats that show only one."""
    return {name: f"{here}/maps/{index}.{ending}" for name, ending in format_names_for(fills).items()}


def _targets(record: ExplanationRecord) -> list[TargetView]:
    here, fills = explanation_path(record.id), 1 if record.state is None else len(record.state.fills)
    return [TargetView(**target.model_dump(), links=map_links(here, target.index, fills)) for target in record.targets]
