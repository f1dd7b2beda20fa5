"""Whether this process lives, and whether the service can do its work."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from redis.exceptions import RedisError

from app.api.dependencies import ServicesDep
from app.api.openapi_components import PROBLEMS
from app.contract.errors import StorageError
from app.contract.redis.client import describe_error
from app.services import Services

router = APIRouter(tags=["health"])

_AGAIN_SECONDS = "5"

Check = Literal["ok", "failing"]
Part = Literal["redis", "storage", "workers"]
Excluded = Annotated[Part | None, Query(description="A part that is looked at and does not count.")]


class Readiness(BaseModel):
    """What works; `detail` says what is missing."""

    ready: bool
    redis: Check
    storage: Check
    workers: Check
    detail: list[str]


@router.get("/livez", operation_id="isAlive")
async def livez() -> dict[str, str]:
    """Say that the process lives, at once."""
    return {"status": "alive"}


@router.get("/readyz", operation_id="isReady", responses={"4XX": PROBLEMS["4XX"], 503: {"model": Readiness}})
def readyz(services: ServicesDep, response: Response, exclude: Excluded = None) -> Readiness:
    """Return whether Redis and storage answer and a live worker has a model ready; says which is missing."""
    checks: dict[Part, Callable[[], None]] = {
        "redis": services.store.ping,
        "storage": services.blobs.ping,
        "workers": lambda: _require_ready_model(services),
    }
    problems = {name: _problem_of(check) for name, check in checks.items()}
    detail = [f"{name}: {problem}" for name, problem in problems.items() if problem]
    ready = not any(problem for name, problem in problems.items() if name != exclude)
    if not ready:
        response.status_code = 503
        response.headers["Retry-After"] = _AGAIN_SECONDS
    states: dict[str, Check] = {name: "failing" if problem else "ok" for name, problem in problems.items()}
    return Readiness(
        ready=ready, redis=states["redis"], storage=states["storage"], workers=states["workers"], detail=detail
    )


def _problem_of(check: Callable[[], None]) -> str:
    try:
        check()
    except RedisError as cause:
        return f"{describe_error(cause)} ({str(cause) or type(cause).__name__})"
    except (StorageError, LookupError) as cause:
        return str(cause)
    return ""


def _require_ready_model(services: Services) -> None:
    catalogue = services.catalogue.now()
    if not catalogue.announcements:
        raise LookupError("no worker is running")
    if not any(model.state == "ready" for model in catalogue.models):
        states = ", ".join(f"{model.id} is {model.state}" for model in catalogue.models)
        raise LookupError(f"no model is ready: {states or 'there are none'}")
