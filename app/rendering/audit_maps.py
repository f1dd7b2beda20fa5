"""The maps of an audit, as records whose maps are drawn like any other: by another fill, a low opacity, Grad-CAM."""

from collections.abc import Callable, Sequence
from typing import Literal

from app.contract.audits import GRAD_CAM_VIEW, OPACITY_VIEW
from app.contract.errors import RiseError, invalid_field
from app.contract.schemas import ExplanationRecord

_RETRY_SECONDS = 1
_WORDS = {GRAD_CAM_VIEW: "Grad-CAM", OPACITY_VIEW: "a low opacity"}


def view_named(
    record: ExplanationRecord,
    *,
    fill: str | None,
    opacity: float | None,
    method: Literal["grad-cam"] | None,
    fills: Callable[[], Sequence[str]],
) -> str | None:
    """Return the name of the view of the audit that has a map; None where it is the explanation's own.

    Args:
        record: the explanation.
        fill: that was asked for.
        opacity: that was asked for.
        method: that was asked for, if it is not the explanation's own.
        fills: returns the names of all fills that there are; called only where one is needed that is not the
            explanation's own, because maps are drawn also where Redis is full and no worker lives.

    Raises:
        RiseError: `invalid-parameters` for two of fill, opacity and method at once, for a fill that does not exist, and
            for another one of an explanation with several.
    """
    if method is not None:
        if (fill, opacity) != (None, None):
            raise invalid_field("/method", f"{method} hides nothing: it has neither fill nor opacity")
        return GRAD_CAM_VIEW
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
        opacity: that was asked for; of no matter for other views.

    Raises:
        RiseError: `not-found` for a view that the audit does not have, `not-ready` before its first block.
    """
    asked = opacity if name == OPACITY_VIEW else None
    words = _WORDS.get(name, f"fill {name!r}") if asked is None else f"opacity {asked:g}"
    if audit is None:
        raise RiseError("not-found", f"there is no map by {words}: an audit makes some, and nobody has asked for one")
    view = next((view for view in audit.views if view.name == name), None)
    if view is not None and asked not in {None, view.parameters.get("opacity")}:
        raise RiseError("not-found", f"there is no map by {words}: the audit has one by {view.parameters['opacity']:g}")
    if view is not None and view.state.checkpoints:
        method = name if name == GRAD_CAM_VIEW else audit.request.method
        request = audit.request.model_copy(update={"parameters": view.parameters, "method": method})
        return audit.model_copy(update={"request": request, "state": view.state})
    if not audit.status.ended:
        detail = f"there is no map by {words} yet: the audit is {audit.status.value}"
        raise RiseError("not-ready", detail, retry_after_seconds=_RETRY_SECONDS)
    raise RiseError("not-found", f"there is no map by {words}; {_what_there_is(audit, name)}")


def _what_there_is(audit: ExplanationRecord, name: str) -> str:
    """Return what an audit that has ended without a view has instead, or why it has not that one."""
    checks = audit.audit.checks if audit.audit else []
    reasons = [check.sentence for check in checks if check.check == "white-box"]
    if name == GRAD_CAM_VIEW and reasons:
        return reasons[0][0].lower() + reasons[0][1:]
    made = ", ".join(view.name for view in audit.views if view.name not in _WORDS) or "none"
    return f"the audit has these fills: {made}"
