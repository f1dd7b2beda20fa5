"""The fields of a request to a command: callback, what every method has, and the parameters of one method."""

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.auth.principal import Principal
from app.contract.audits import require_auditable
from app.contract.errors import FieldError, RiseError, invalid_field
from app.contract.schemas import ExplanationParams, JsonObject, Priority
from app.egress.allowlist import HostAllowlist, UrlNotAllowed
from app.explanations.catalogue import CatalogueReader, ResolvedRequest

_OWN_FIELDS = frozenset(ExplanationParams.model_fields)
_NO_SECRET = "this service sends no callbacks: its operator has set no secret (RISE_WEBHOOK_SECRET)"  # noqa: S105


@dataclass(frozen=True)
class SubmitCommand:
    """How to explain an image.

    Attributes:
        resolved: the request, checked against the live workers.
        principal: who sends it.
        priority: its lane in the queue.
        callback_url: is notified of the end; None for no callback.
        audit: whether it is audited, too.
    """

    resolved: ResolvedRequest
    principal: Principal
    priority: Priority = "interactive"
    callback_url: str | None = None
    audit: bool = False


@dataclass(frozen=True)
class CommandReader:
    """Reads commands.

    Attributes:
        catalogue: what live workers can do.
        hosts: that callbacks may name.
        signs_callbacks: whether there is a secret to sign them with.
    """

    catalogue: CatalogueReader
    hosts: HostAllowlist
    signs_callbacks: bool

    def read(self, fields: JsonObject, principal: Principal) -> SubmitCommand:
        """Return the command of a request's fields, which are all but the image.

        Raises:
            RiseError: `invalid-parameters`, `unknown-name` or `url-not-allowed`, pointing at the fields at fault; what
                `Catalogue.resolve` raises.
        """
        callback_url = self.callback_url(fields.get("callback"))
        params, parameters = split_params({name: value for name, value in fields.items() if name != "callback"})
        resolved = self.catalogue.now().resolve(params, parameters)
        if params.audit:
            require_auditable(resolved.request)
        return SubmitCommand(resolved, principal, params.priority, callback_url, params.audit)

    def callback_url(self, given: Any) -> str | None:
        """Return a callback that is allowed; None for none.

        It does not count for the fingerprint: the same request with another callback is the same explanation, and both
        are notified of its end.

        Raises:
            RiseError: `invalid-parameters` or `url-not-allowed`.
        """
        if given is None:
            return None
        if not isinstance(given, str):
            raise invalid_field("/callback", "write it as https://host/path")
        if not self.signs_callbacks:
            raise _callback_not_allowed(_NO_SECRET)
        try:
            self.hosts.permitted(given)
        except UrlNotAllowed as cause:
            raise _callback_not_allowed(str(cause)) from cause
        return given


def _callback_not_allowed(detail: str) -> RiseError:
    return RiseError("url-not-allowed", f"callback: {detail}", errors=[FieldError("/callback", detail)])


def split_params(fields: JsonObject) -> tuple[ExplanationParams, JsonObject]:
    """Split a request's fields into what every method has and the parameters of one.

    Raises:
        RiseError: `invalid-parameters`, pointing at every field at fault.
    """
    own = {name: value for name, value in fields.items() if name in _OWN_FIELDS}
    parameters = {name: value for name, value in fields.items() if name not in _OWN_FIELDS}
    try:
        return ExplanationParams.model_validate(own), parameters
    except ValidationError as cause:
        errors = [_field_error(error["loc"], error["msg"]) for error in cause.errors()]
        detail = "; ".join(dict.fromkeys(f"{error.field.lstrip('/')}: {error.detail}" for error in errors))
        raise RiseError("invalid-parameters", detail, errors=errors) from cause


def _field_error(location: tuple[int | str, ...], message: str) -> FieldError:
    kept = [str(part) for part in location if not isinstance(part, str) or part.isidentifier()]
    return FieldError("/" + "/".join(kept), message)
