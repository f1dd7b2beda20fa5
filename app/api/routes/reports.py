"""One explanation as a page for printing and filing."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from app.api.dependencies import Reader, ServicesDep, existing_record
from app.api.openapi_components import PROBLEMS
from app.contract.audits import audit_id
from app.rendering.report import CONTENT_SECURITY_POLICY, render_report

router = APIRouter(prefix="/v1/explanations", tags=["maps"], responses=PROBLEMS)


@router.get("/{explanation_id}/report.html", operation_id="getReport", response_class=HTMLResponse)
def report(explanation_id: str, services: ServicesDep, caller: Reader) -> HTMLResponse:
    """Return a report of an explanation with maps: one HTML file without scripts, to be printed or filed.

    It holds the picture with the map of each target, colour bars, figures with units, sentences, the audit, parameters
    and provenance.
    """
    record = existing_record(services, caller, explanation_id)
    audit = services.store.read(audit_id(record.id))
    content = render_report(record, services.renderer, audit)
    headers = {
        "Cache-Control": "private, no-cache",  # because it may be audited later
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(content, headers=headers)
