"""What a route may ask for: the services of this process, made once by the composition root."""

from dataclasses import dataclass
from typing import Annotated

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


def existing_record(services: Services, explanation_id: str) -> Record:
    """Return an explanation.

    Raises:
        RiseError: `not-found`.
    """
    record = services.store.read(explanation_id)
    if record is None:
        raise RiseError("not-found", f"there is no explanation {explanation_id!r}")
    return record
