"""The report of an annotated batch: what its maps have in common, and what is suspicious about them."""

import io
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from app.api.dependencies import Explainer, Reader, ServicesDep, existing_batch
from app.api.openapi_components import ACCEPTED, PROBLEMS
from app.auth.principal import Principal
from app.batches.store import BatchRecord
from app.batches.survey_html import CONTENT_SECURITY_POLICY, render_survey
from app.batches.survey_views import (
    ClusterMembersView,
    ReportProgressView,
    ReportView,
    csv_rows,
    draw_mean_map,
    view_of_members,
    view_of_progress,
    view_of_report,
)
from app.batches.surveys import require_annotations
from app.contract.errors import RiseError
from app.contract.survey import Alignment, SurveyReport
from app.explanations.root_path import root_path
from app.services import Services

router = APIRouter(prefix="/v1/batches", tags=["batches"], responses=PROBLEMS)

_RETRY_SECONDS = 1
_PROGRESS: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "It is being made.",
        "model": ReportProgressView,
        "headers": {"Retry-After": ACCEPTED["Retry-After"]},
    }
}
_PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}}}

Number = Annotated[int, Path(ge=0, description="Place in the report's list.", examples=[0])]


@router.get("/{batch_id}/report", operation_id="getBatchReport", response_model=ReportView, responses=_PROGRESS)
def report(batch_id: str, services: ServicesDep, caller: Reader) -> Response | ReportView:
    """Return what the maps of an annotated batch have in common: figures of labels, clusters, what is suspicious.

    It is made when the last image has ended and it is asked for; ask again after `Retry-After`. Where it cannot be made
    the answer is the reason, until a `POST` tries again.
    """
    return _report_or_progress(services, _surveyed(services, caller, batch_id))


@router.post("/{batch_id}/report", operation_id="retryBatchReport", response_model=ReportView, responses=_PROGRESS)
def retry(batch_id: str, services: ServicesDep, caller: Explainer) -> Response | ReportView:
    """Try again to make a report that could not be made; otherwise as `GET`."""
    batch = _surveyed(services, caller, batch_id)
    services.surveys.forget_failure(batch)
    return _report_or_progress(services, batch)


def _report_or_progress(services: Services, batch: BatchRecord) -> Response | ReportView:
    found = services.surveys.report(batch)
    if found is not None:
        return view_of_report(batch, found)
    progress = view_of_progress(services.surveys.advance(batch))
    headers = {"Retry-After": str(_RETRY_SECONDS)}
    return Response(progress.model_dump_json(), 202, headers, media_type="application/json")


@router.get(
    "/{batch_id}/report.csv",
    operation_id="getBatchReportAsCsv",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}}},
)
def report_csv(batch_id: str, services: ServicesDep, caller: Reader) -> StreamingResponse:
    """Return the figures of all cases: a row for each explained label of each image."""
    batch, found = _finished(services, caller, batch_id)
    headers = {"Content-Disposition": f"attachment; filename=batch-{batch.id}.csv"}
    return StreamingResponse(csv_rows(found), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/{batch_id}/report.html", operation_id="getBatchReportAsHtml", response_class=HTMLResponse)
def report_html(batch_id: str, services: ServicesDep, caller: Reader) -> HTMLResponse:
    """Return the report as one HTML file without scripts, to be printed or filed.

    Each cluster has its mean map and a contact sheet, the pictures that are decided outside of the objects first.
    """
    batch, found = _finished(services, caller, batch_id)
    headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(render_survey(batch, found, services.store, services.renderer), headers=headers)


@router.get(
    "/{batch_id}/report/clusters/{number}.png",
    operation_id="getBatchClusterMap",
    response_class=Response,
    responses=_PNG,
)
def cluster_map(batch_id: str, number: Number, services: ServicesDep, caller: Reader) -> Response:
    """Return the mean map of a cluster in colours."""
    _, found = _finished(services, caller, batch_id)
    if number >= len(found.clusters):
        raise RiseError("not-found", f"there is no cluster {number}; the report has {len(found.clusters)}")
    return _png(found.clusters[number].mean_map, found.clusters[number].alignment)


@router.get("/{batch_id}/report/clusters/{number}", operation_id="getBatchCluster")
def cluster(batch_id: str, number: Number, services: ServicesDep, caller: Reader) -> ClusterMembersView:
    """Return the cases of a cluster, those decided outside of the objects first."""
    _, found = _finished(services, caller, batch_id)
    if number >= len(found.clusters):
        raise RiseError("not-found", f"there is no cluster {number}; the report has {len(found.clusters)}")
    return view_of_members(found, found.clusters[number])


@router.get(
    "/{batch_id}/report/labels/{number}.png", operation_id="getBatchLabelMap", response_class=Response, responses=_PNG
)
def label_map(batch_id: str, number: Number, services: ServicesDep, caller: Reader) -> Response:
    """Return the mean map of a label's recognised cases in colours."""
    _, found = _finished(services, caller, batch_id)
    if number >= len(found.labels) or not found.labels[number].mean_map:
        raise RiseError("not-found", f"there is no map of label {number}")
    return _png(found.labels[number].mean_map)


def _surveyed(services: Services, caller: Principal, batch_id: str) -> BatchRecord:
    batch = existing_batch(services, caller, batch_id)
    require_annotations(batch)
    return batch


def _finished(services: Services, caller: Principal, batch_id: str) -> tuple[BatchRecord, SurveyReport]:
    batch = _surveyed(services, caller, batch_id)
    found = services.surveys.report(batch)
    if found is None:
        reason = services.surveys.advance(batch).reason
        words = f"the report is not finished: {reason}" if reason else "the report is not finished"
        detail = f"{words}; see {root_path()}/v1/batches/{batch.id}/report"
        raise RiseError("not-ready", detail, retry_after_seconds=_RETRY_SECONDS)
    return batch, found


def _png(values: list[list[float]], alignment: Alignment = "picture") -> Response:
    buffer = io.BytesIO()
    draw_mean_map(values, alignment).save(buffer, "PNG")
    return Response(buffer.getvalue(), media_type="image/png")
