"""What a route may ask for: the services of this process, made once by the composition root."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from app.catalogue import CatalogueReader
from app.contract.blobs import Blobs
from app.contract.errors import RiseError
from app.contract.events import Events
from app.contract.queue import Jobs
from app.contract.schemas import Record
from app.contract.settings import Settings
from app.contract.store import Store
from app.submission import Submission

_CALL_SECONDS = 30.0


@dataclass(frozen=True)
class Services:
    """Everything that routes use."""

    settings: Settings
    store: Store
    blobs: Blobs
    jobs: Jobs
    events: Events
    catalogue: CatalogueReader
    submission: Submission


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Service = Annotated[Services, Depends(_services)]


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


def existing_record(services: Services, explanation_id: str) -> Record:
    """Return an explanation.

    Raises:
        RiseError: `not-found`.
    """
    record = services.store.read(explanation_id)
    if record is None:
        raise RiseError("not-found", f"there is no explanation {explanation_id!r}")
    return record
