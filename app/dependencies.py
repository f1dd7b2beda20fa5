"""What a route may ask for: the services of this process, made once by the composition root."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from app.admission import Admission
from app.caller import EVERYBODY, Caller, caller_of
from app.calls import Calls
from app.catalogue import CatalogueReader
from app.contract.batches import Batches
from app.contract.blobs import Blobs
from app.contract.callbacks import Callbacks
from app.contract.errors import RiseError
from app.contract.events import Events
from app.contract.expiry import Expiry
from app.contract.idempotency import IdempotencyKeys
from app.contract.keys import Keys, Scope
from app.contract.leases import Leases
from app.contract.limits import RequestRates
from app.contract.listing import Listing
from app.contract.pace import Pace
from app.contract.queue import Jobs
from app.contract.schemas import ImageInfo, Record
from app.contract.settings import Settings
from app.contract.statistics import Statistics
from app.contract.store import Store
from app.intake import Intake
from app.maintenance.requeue import OrphanScanner
from app.maintenance.served_models import ServedModels
from app.outbound.pictures import Pictures
from app.polls import Polls
from app.rate import count_request
from app.sources import ById, ByUrl, Source
from app.submission import Submission
from app.uploads import Uploads

_DRAWN_AT_ONCE = 4
_LARGE_PIXELS = 8_000_000


@dataclass(frozen=True)
class Services:
    """Everything that routes use."""

    settings: Settings
    store: Store
    listing: Listing
    expiry: Expiry
    leases: Leases
    blobs: Blobs
    jobs: Jobs
    pace: Pace
    statistics: Statistics
    events: Events
    polls: Polls
    keys: Keys
    idempotency: IdempotencyKeys
    rates: RequestRates
    admission: Admission
    catalogue: CatalogueReader
    intake: Intake
    orphans: OrphanScanner
    served: ServedModels
    submission: Submission
    pictures: Pictures
    callbacks: Callbacks
    uploads: Uploads
    batches: Batches

    @cached_property
    def calls(self) -> Calls:
        """What asks workers while a client waits."""
        return Calls(self.jobs)

    def turn_to_draw(self, image: ImageInfo) -> CapacityLimiter:
        """Return what limits the maps that are drawn at once: of the largest pictures each takes most of a gigabyte."""
        return self._large_drawings if image.width * image.height > _LARGE_PIXELS else self._drawings

    @cached_property
    def _drawings(self) -> CapacityLimiter:
        return CapacityLimiter(_DRAWN_AT_ONCE)

    @cached_property
    def _large_drawings(self) -> CapacityLimiter:
        return CapacityLimiter(1)

    @property
    def signs_callbacks(self) -> bool:
        """Whether there is a secret to sign callbacks with."""
        return bool(self.settings.webhook_secret.get_secret_value())


async def _services(request: Request) -> Services:  # awaits nothing, but a plain function would cost a thread's turn
    services: Services = request.app.state.services
    return services


Service = Annotated[Services, Depends(_services)]


_BEARER = HTTPBearer(
    scheme_name="apiKey",
    description="A key from `rise-serve keys add`, where the operator asks for one.",
    auto_error=False,
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


def counted_caller(request: Request, services: Services, secret: str | None) -> Caller:
    """Return who sent a secret, after counting the request.

    Raises:
        RiseError: `unauthorized` or `too-many-requests`.
    """
    caller = caller_of(services.keys, secret)
    count_request(services.rates, caller, request.scope["state"])
    return caller


def caller_who_may(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency: the caller of a request, who must have a scope.

    Raises:
        RiseError: `unauthorized`, `forbidden`, or `too-many-requests`.
    """

    async def allowed(request: Request, services: Service, credentials: Credentials) -> Caller:
        if services.settings.keys != "on":
            return EVERYBODY
        secret = credentials.credentials if credentials else None
        caller = await run_in_threadpool(counted_caller, request, services, secret)
        if scope not in caller.scopes:
            raise RiseError("forbidden", f"this needs a key with the scope {scope!r}")
        return caller

    return allowed


async def caller_by_password(
    request: Request,
    services: Service,
    credentials: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))],
) -> Caller:
    """Return who asks by HTTP Basic, as tools do: the password is an API key, the user name may be anything.

    Raises:
        RiseError: `unauthorized`, `forbidden` (they must be allowed to explain) or `too-many-requests`.
    """
    if services.settings.keys != "on":
        return EVERYBODY
    secret = credentials.password if credentials else None
    caller = await run_in_threadpool(counted_caller, request, services, secret)
    if "explain" not in caller.scopes:
        raise RiseError("forbidden", "this needs a key with the scope 'explain'")
    return caller


_may_read, _may_explain = caller_who_may("read"), caller_who_may("explain")
Explainer = Annotated[Caller, Depends(_may_explain)]
Reader = Annotated[Caller, Depends(_may_read)]
Administrator = Annotated[Caller, Depends(caller_who_may("admin"))]


async def who_reads(request: Request) -> tuple[Services, Caller]:
    """Return what `Service` and `Reader` stand for, to code that FastAPI hands neither.

    Raises:
        RiseError: `unauthorized`, `forbidden`, or `too-many-requests`.
    """
    return await _who(request, _may_read)


async def who_explains(request: Request) -> tuple[Services, Caller]:
    """Return what `Service` and `Explainer` stand for, to code that FastAPI hands neither.

    Raises:
        RiseError: `unauthorized`, `forbidden`, or `too-many-requests`.
    """
    return await _who(request, _may_explain)


async def _who(request: Request, allowed: Callable[..., Awaitable[Caller]]) -> tuple[Services, Caller]:
    services = await _services(request)
    return services, await allowed(request, services, await _BEARER(request))


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


async def chosen_image(services: Services, caller: Caller, source: Source) -> bytes:
    """Return the bytes of the image that a request names, wherever they come from.

    Raises:
        RiseError: what `Pictures.fetch` and `Uploads.content` raise.
    """
    if isinstance(source, ByUrl):
        return await services.pictures.fetch(source.url, field=source.field)
    if isinstance(source, ById):
        return await run_in_threadpool(services.uploads.content, caller.tenant, source)
    return source
