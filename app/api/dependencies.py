"""Dependencies of routes: the services of this process and the authenticated caller."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from app.api.middleware.rate_limit import count_request
from app.auth.api_keys import Scope
from app.auth.principal import ANONYMOUS, Principal, authenticate
from app.batches.store import BatchRecord
from app.contract.audits import audit_id, audited_id
from app.contract.errors import RiseError
from app.contract.schemas import ExplanationRecord
from app.services import Services


async def _services(request: Request) -> Services:  # async, because FastAPI runs plain functions in the thread pool
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]


_BEARER = HTTPBearer(
    scheme_name="apiKey",
    description="A key from `rise-serve keys add`, where the operator asks for one.",
    auto_error=False,
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def authenticate_and_count(request: Request, services: Services, secret: str | None) -> Principal:
    """Return the principal of a secret, after counting the request.

    Raises:
        RiseError: `unauthorized` or `too-many-requests`.
    """
    caller = authenticate(services.keys, secret)
    count_request(services.rate_limiter, caller, request.scope["state"])
    return caller


def require_scope(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """Return a dependency: the caller of a request, whose key must have a scope.

    Raises:
        RiseError: `unauthorized`, `forbidden`, or `too-many-requests`.
    """

    async def allowed(request: Request, services: ServicesDep, credentials: Credentials) -> Principal:
        if services.settings.keys != "on":
            return ANONYMOUS
        secret = credentials.credentials if credentials else None
        caller = await run_in_threadpool(authenticate_and_count, request, services, secret)
        if scope not in caller.scopes:
            raise RiseError("forbidden", f"this needs a key with the scope {scope!r}")
        return caller

    return allowed


async def basic_auth_principal(
    request: Request,
    services: ServicesDep,
    credentials: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))],
) -> Principal:
    """Return the caller by HTTP Basic: the password is an API key, the user name may be anything.

    Raises:
        RiseError: `unauthorized`, `forbidden` (the scope is `explain`) or `too-many-requests`.
    """
    if services.settings.keys != "on":
        return ANONYMOUS
    secret = credentials.password if credentials else None
    caller = await run_in_threadpool(authenticate_and_count, request, services, secret)
    if "explain" not in caller.scopes:
        raise RiseError("forbidden", "this needs a key with the scope 'explain'")
    return caller


Explainer = Annotated[Principal, Depends(require_scope("explain"))]
Reader = Annotated[Principal, Depends(require_scope("read"))]
Administrator = Annotated[Principal, Depends(require_scope("admin"))]


async def wait_for_record(
    services: Services, caller: Principal, explanation_id: str, *, seconds: float
) -> ExplanationRecord:
    """Return an explanation of the caller's tenant when it has ended, or as it is after `seconds`.

    Raises:
        RiseError: what `existing_record` raises, if it is deleted meanwhile.
    """
    record = await services.explanations.wait(explanation_id, seconds=seconds)
    if record is None:
        return await run_in_threadpool(existing_record, services, caller, explanation_id)
    return record


def existing_record(services: Services, caller: Principal, explanation_id: str) -> ExplanationRecord:
    """Return an explanation of the caller's tenant.

    Raises:
        RiseError: `expired` for a while after its end; `not-found`, also for what belongs to another tenant.
    """
    if audited_id(explanation_id) is not None:  # because audits are read as a part of their explanation
        raise RiseError("not-found", f"there is no explanation {explanation_id!r}")
    record = services.store.read(explanation_id)
    if record is None and services.expiry.tenant_of_expired(explanation_id) == caller.tenant:
        raise RiseError("expired", f"explanation {explanation_id!r} has expired; ask for it again")
    if record is None or record.tenant != caller.tenant:
        raise RiseError("not-found", f"there is no explanation {explanation_id!r}")
    return record


def existing_batch(services: Services, caller: Principal, batch_id: str) -> BatchRecord:
    """Return a batch of the caller's tenant.

    Raises:
        RiseError: `not-found`, also for what belongs to another tenant.
    """
    batch = services.batches.read(batch_id)
    if batch is None or batch.tenant != caller.tenant:
        raise RiseError("not-found", f"there is no batch {batch_id!r}")
    return batch


def existing_audit(services: Services, caller: Principal, explanation_id: str) -> ExplanationRecord:
    """Return the audit of an explanation of the caller's tenant.

    Raises:
        RiseError: what `existing_record` raises; `not-found` where nobody asked for an audit.
    """
    existing_record(services, caller, explanation_id)
    record = services.store.read(audit_id(explanation_id))
    if record is None:
        raise RiseError("not-found", f"explanation {explanation_id!r} has no audit; ask for one by POST")
    return record
