"""Audits: what their records are called, which explanations can have one, and how many passes one takes.

An audit is a job of the same kind as an explanation, with a record, events, blobs and callbacks of its own. Its request
is that of the explanation, so it is a pure function of the same things, and need not wait for it.
"""

from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import CanonicalRequest, ExplanationRecord

OPACITY_VIEW = "opacity"
"""The view whose masks hide only partly, among those that have the name of their fill."""

GRAD_CAM_VIEW = "grad-cam"
"""The view that is no masked one: Grad-CAM, at the size of the network's last feature map."""

_SUFFIX = "-audit"
_BLOCKS = 7  # two of each of three other fills, and one of low opacity; those of the own fill are there
_PROBES = 299  # pictures without a view, at most
_USUAL_PASSES = 1_200  # an estimate where the grid is not known yet


def audit_id(explanation_id: str) -> str:
    """Return the id of the audit of an explanation."""
    return explanation_id + _SUFFIX


def audited_id(record_id: str) -> str | None:
    """Return the explanation of which a record is the audit; None where it is an explanation itself."""
    return record_id.removesuffix(_SUFFIX) if record_id.endswith(_SUFFIX) else None


def is_auditable(request: CanonicalRequest) -> bool:
    """Return whether a request can be audited."""
    try:
        require_auditable(request)
    except RiseError:
        return False
    return True


def require_auditable(request: CanonicalRequest) -> None:
    """Check that a request can be audited.

    Raises:
        RiseError: `invalid-parameters`, with the reason.
    """
    parameters = request.parameters
    if parameters.get("estimator") == "paper":
        raise invalid_field("/estimator", "an audit compares blocks of effects, which the published estimator has not")
    if "fill" not in parameters:
        detail = f"{request.method} asks what colours do; an audit compares fills that say nothing: ask it of rise"
        raise invalid_field("/method", detail)
    if isinstance(parameters["fill"], list):
        raise invalid_field("/fill", "an audit compares one fill with others: ask it of an explanation with one fill")


def most_passes(record: ExplanationRecord) -> int | None:
    """Return how many pictures the audit of an explanation asks the model for, at most.

    Returns:
        None where it can have no audit; and before its end, because its grid may not be known.
    """
    provenance = record.provenance
    if provenance is None or not provenance.blocks or not is_auditable(record.request):
        return None
    return _BLOCKS * (provenance.masks_used // provenance.blocks) + _PROBES


def budgeted_request(record: ExplanationRecord) -> CanonicalRequest:
    """Return the request of a record with the masks that it will take: an audit never stops early."""
    if audited_id(record.id) is None:
        return record.request
    masks = record.progress.total if record.progress else _USUAL_PASSES
    parameters = {**record.request.parameters, "masks": masks, "until": 1}
    return record.request.model_copy(update={"parameters": parameters})
