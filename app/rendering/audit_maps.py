"""The maps of an audit, as records whose maps are drawn like any other: by another fill, and by a low opacity."""

from collections.abc import Callable, Sequence

from app.contract.audits import OPACITY_VIEW
from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import ExplanationRecord

_RETRY_SECONDS = 1


def view_named(
    record: ExplanationRecord, *, fill: str | None, opacity: float | None, fills: Callable[[], Sequence[str]]
) -> str | None:
    """Return the name of the view of the audit that has a map; None where it is the explanation's own.

    Args:
        record: the explanation.
        fill: that was asked for.
        opacity: that was asked for.
        fills: returns the names of all fills that there are; called only where one is needed that is not the
            explanation's own, because maps are drawn also where Redis is full and no worker lives.

    Raises:
        RiseError: `invalid-parameters` for fill and opacity at once, for a fill that does not exist, and for another
            one of an explanation with several.
    """
    if opacity is not None and opacity != record.parameters.get("opacity"):
        if fill is not None:
            raise invalid_field("/opacity", "an audit has maps by fill, and one by opacity: say one of them")
        return OPACITY_VIEW
    own = _own_fills(record)
    if fill is None or fill in own:
        return None
    known = fills()
    if len(own) > 1 or (known and fill not in known):
        raise invalid_field("/fill", f"this explanation has {', '.join(own)}")
    return fill


def _own_fills(record: ExplanationRecord) -> list[str]:
    """Return the fills of an explanation, which its request says before the first block."""
    if record.state is not None:
        return record.state.fills
    parameters = record.request.parameters
    fills: list[str] = parameters.get("colors") or [parameters.get("fill", "")]
    return [",".join(fill) if isinstance(fill, list) else fill for fill in fills]


def record_of_view(audit: ExplanationRecord | None, name: str, *, opacity: float | None) -> ExplanationRecord:
    """Return a record whose state is a view of an audit.

    Args:
        audit: record of the audit; None where there is none.
        name: of the view.
        opacity: that was asked for, where it is that view.

    Raises:
        RiseError: `not-found` for a view that the audit does not have, `not-ready` before its first block.
    """
    words = f"fill {name!r}" if opacity is None else f"opacity {opacity:g}"
    if audit is None:
        raise RiseError("not-found", f"there is no map by {words}: an audit makes some, and nobody has asked for one")
    views = {view.name: view for view in audit.views}
    view = views.get(name)
    if view is not None and opacity not in {None, view.parameters.get("opacity")}:
        raise RiseError("not-found", f"there is no map by {words}: the audit has one by {view.parameters['opacity']:g}")
    if view is not None and view.state.checkpoints:
        request = audit.request.model_copy(update={"parameters": view.parameters})
        return audit.model_copy(update={"request": request, "state": view.state})
    if not audit.status.ended:
        detail = f"there is no map by {words} yet: the audit is {audit.status.value}"
        raise RiseError("not-ready", detail, retry_after_seconds=_RETRY_SECONDS)
    made = ", ".join(fill for fill in views if fill != OPACITY_VIEW) or "none"
    raise RiseError("not-found", f"there is no map by {words}; the audit has these fills: {made}")
