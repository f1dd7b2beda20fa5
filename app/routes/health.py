"""Whether this process lives, and whether the service can do its work."""

from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from obstore.exceptions import BaseError as StorageError
from pydantic import BaseModel
from redis.exceptions import RedisError

from app.dependencies import Service, Services

router = APIRouter(tags=["health"])

Check = Literal["ok", "failing"]


class Readiness(BaseModel):
    """What works; `detail` says what is missing."""

    ready: bool
    redis: Check
    storage: Check
    workers: Check
    detail: list[str]


@router.get("/livez", operation_id="isAlive")
async def livez() -> dict[str, str]:
    """Return at once: the process lives."""
    return {"status": "alive"}


@router.get("/readyz", operation_id="isReady", responses={503: {"model": Readiness}})
def readyz(services: Service, response: Response) -> Readiness:
    """Return whether Redis and storage answer and a live worker has a model ready; says which is missing."""
    checks = {"redis": services.store.ping, "storage": services.blobs.ping, "workers": lambda: _some_model(services)}
    complaints = {name: _complaint(check) for name, check in checks.items()}
    detail = [f"{name}: {words}" for name, words in complaints.items() if words]
    response.status_code = 503 if detail else 200
    states: dict[str, Check] = {name: "failing" if words else "ok" for name, words in complaints.items()}
    return Readiness(
        ready=not detail, redis=states["redis"], storage=states["storage"], workers=states["workers"], detail=detail
    )


def _complaint(check: Callable[[], None]) -> str:
    try:
        check()
    except (RedisError, StorageError, OSError, LookupError) as cause:
        return str(cause) or type(cause).__name__
    return ""


def _some_model(services: Services) -> None:
    catalogue = services.catalogue.now()
    if not catalogue.announcements:
        raise LookupError("no worker is running")
    if not any(model.state == "ready" for model in catalogue.models):
        states = ", ".join(f"{model.id} is {model.state}" for model in catalogue.models)
        raise LookupError(f"no model is ready: {states or 'there are none'}")
