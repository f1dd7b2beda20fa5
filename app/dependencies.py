"""What a route may ask for: the services of this process, made once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.admission import Admission
from app.caller import EVERYBODY, Caller, caller_of
from app.catalogue import CatalogueReader
from app.contract.blobs import Blobs
from app.contract.errors import RiseError
from app.contract.events import Events
from app.contract.expiry import Expiry
from app.contract.idempotency import IdempotencyKeys
from app.contract.keys import Keys, Scope
from app.contract.limits import RequestRates
from app.contract.listing import Listing
from app.contract.queue import Jobs
from app.contract.schemas import Record
from app.contract.settings import Settings
from app.contract.statistics import Statistics
from app.contract.store import Store
from app.rate import count_request
from app.submission import Submission

_CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Services:
    """Everything that routes use."""

    settings: Settings
    store: Store
    listing: Listing
    expiry: Expiry
    blobs: Blobs
    jobs: Jobs
    statistics: Statistics
    events: Events
    keys: Keys
    idempotency: IdempotencyKeys
    rates: RequestRates
    admission: Admission
    catalogue: CatalogueReader
    submission: Submission


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Service = Annotated[Services, Depends(_services)]


_BEARER = HTTPBearer(
    scheme_name="apiKey",
    description="A key from `rise-serve keys add`, where the operator asks for one.",
    auto_error=False,
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def _caller(request: Request, services: Service, credentials: Credentials) -> Caller:
    if services.settings.keys != "on":
        return EVERYBODY
    caller = caller_of(services.keys, credentials.credentials if credentials else None)
    count_request(services.rates, caller, request.scope["state"])
    return caller


def caller_who_may(scope: Scope) -> Callable[[Caller], Caller]:
    """Return a dependency: the caller of a request, who must have a scope.

    Raises:
        RiseError: `unauthorized`, `forbidden`, or `too-many-requests`.
    """

    def caller(caller: Annotated[Caller, Depends(_caller)]) -> Caller:
        if scope not in caller.scopes:
            raise RiseError("forbidden", f"this needs a key with the scope {scope!r}")
        return caller

    return caller


Explainer = Annotated[Caller, Depends(caller_who_may("explain"))]
Reader = Annotated[Caller, Depends(caller_who_may("read"))]
Administrator = Annotated[Caller, Depends(caller_who_may("admin"))]


def call_worker(services: Services, queue: str, function: str, *arguments: Any) -> Any:
    """Run a short function on a worker and return what it found.

    Raises:
        RiseError: what went wrong there, or `busy` if no worker answers in time.
    """
    try:
        answer = services.jobs.call(queue, function, *arguments, seconds=_CALL_SECONDS)
    except TimeoutError as cause:
        raise RiseError("busy", "every worker is busy; try again", retry_after_seconds=_CALL_SECONDS) from cause
    if "code" in answer:
        raise RiseError(answer["code"], answer["detail"])
    return answer["found"]


def existing_record(services: Services, caller: Caller, explanation_id: str) -> Record:
    """Return an explanation of the caller's tenant.

    Raises:
        RiseError: `expired` for a while after its end; `not-found`, also for what belongs to another tenant.
    """
    record = services.store.read(explanation_id)
    if record is None and services.expiry.tenant_of_expired(explanation_id) == caller.tenant:
        raise RiseError("expired", f"explanation {explanation_id!r} has expired; ask for it again")
    if record is None or record.tenant != caller.tenant:
        raise RiseError("not-found", f"there is no explanation {explanation_id!r}")
    return record
