"""The `callback` of a request: taken out of its fields, because it is no part of the question, and checked."""

from typing import Any

from app.contract.errors import FieldError, RiseError, invalid_field
from app.contract.schemas import JsonObject
from app.egress.allowlist import HostAllowlist, UrlNotAllowed

_NO_SECRET = "this service sends no callbacks: its operator has set no secret (RISE_WEBHOOK_SECRET)"  # noqa: S105


def pop_callback_url(fields: JsonObject, hosts: HostAllowlist, *, signed: bool) -> str | None:
    """Remove the callback from a request's fields and return it; None where there is none.

    It does not count for the fingerprint: the same question with another callback is the same explanation, and both
    are told of its end.

    Args:
        fields: of the request; changed.
        hosts: which addresses may be named.
        signed: whether there is a secret to sign with.

    Raises:
        RiseError: `invalid-parameters` or `url-not-allowed`.
    """
    given: Any = fields.pop("callback", None)
    if given is None:
        return None
    if not isinstance(given, str):
        raise invalid_field("/callback", "write it as https://host/path")
    if not signed:
        raise _not_allowed(_NO_SECRET)
    try:
        hosts.permitted(given)
    except UrlNotAllowed as cause:
        raise _not_allowed(str(cause)) from cause
    return given


def _not_allowed(detail: str) -> RiseError:
    return RiseError("url-not-allowed", f"callback: {detail}", errors=[FieldError("/callback", detail)])
