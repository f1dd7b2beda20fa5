"""An ML backend for Label Studio, at `/integrations/label-studio` or `/integrations/label-studio/MODEL`.

Connected to a project, it returns for every task the model's class or boxes and brush masks of its saliency, and for
an annotator's rectangle the masks inside of it. The model is part of the path, because Label Studio appends its own
path to the address (a query would be lost) and sends its `extra_params` to /setup alone, which would have to be stored.

Label Studio waits 1 second for /health, 3 for /setup, 100 for /predict. What is not finished by then is 503, and pushed
later (`prediction_pusher.py`). The token that /setup sends belongs to a user: it is neither used nor kept.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2
from fastapi import APIRouter, Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.dependencies import ServicesDep, basic_auth_principal
from app.api.request_body import BoundedJsonRoute
from app.auth.principal import Principal
from app.contract.errors import RiseError, invalid_field
from app.contract.redis.client import connect
from app.contract.schemas import JsonObject
from app.contract.settings import Settings
from app.integrations.label_studio.api_client import LabelStudioClient
from app.integrations.label_studio.backend import MlBackend, TaskJob
from app.integrations.label_studio.delayed_tasks import DelayedTasks
from app.integrations.label_studio.interactive import Rectangle, explain_rectangle
from app.integrations.label_studio.label_config import read_layout
from app.integrations.label_studio.predict import predictions
from app.integrations.label_studio.prediction_pusher import PredictionPusher
from app.label_studio_format.predictions import version_of
from app.maintenance.periodic import running
from app.services import Services

_MAX_TASKS = 100_000  # because "all tasks" come in one request


def is_on(settings: Settings) -> bool:
    """Return whether the operator has set the address of Label Studio."""
    return bool(settings.label_studio_url)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, MlBackend]]:
    services: Services = app.state.services
    settings = services.settings
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # because it logs URLs, and those of clouds are signed
    studio = LabelStudioClient(
        httpx2.URL(settings.label_studio_url),
        settings.label_studio_api_key.get_secret_value(),
        max_bytes=settings.max_image_bytes,
        seconds=settings.fetch_seconds,
    )
    backend = MlBackend(services, studio, DelayedTasks(connect(settings.redis_url), "label-studio"))
    async with running(PredictionPusher(backend).task()):
        yield {"label_studio": backend}
    await studio.close()


class _Route(BoundedJsonRoute):
    """Requests include existing brush strokes, as numbers."""

    most_values = 2_000_000
    most_bytes = 30_000_000


router = APIRouter(prefix="/integrations/label-studio", include_in_schema=False, lifespan=_lifespan, route_class=_Route)


async def _backend(request: Request) -> MlBackend:
    backend: MlBackend = request.state.label_studio
    return backend


async def _caller(services: ServicesDep, caller: Annotated[Principal, Depends(basic_auth_principal)]) -> Principal:
    """Return the caller by HTTP Basic, if its tenant may use this backend.

    Raises:
        RiseError: `unauthorized`, `forbidden` or `too-many-requests`.
    """
    settings = services.settings
    if settings.keys == "on" and caller.tenant not in settings.label_studio_tenants.replace(",", " ").split():
        raise RiseError("forbidden", "this needs a key of a tenant that RISE_LABEL_STUDIO_TENANTS names")
    return caller


BackendDep = Annotated[MlBackend, Depends(_backend)]
Caller = Annotated[Principal, Depends(_caller)]


class _Body(BaseModel):
    """The fields of a request that are read; Label Studio sends more, and other versions send others."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Setup(_Body):
    """The body of /setup, which is sent when a project is connected or validated again."""

    label_config: str = Field("", alias="schema")


class Task(_Body):
    """A task that needs a prediction."""

    id: int = Field(ge=0)
    data: JsonObject


class InteractiveContext(_Body):
    """The regions that an annotator has drawn."""

    result: list[JsonObject] = Field(default_factory=list)


class Params(_Body):
    """The parameters of /predict."""

    context: InteractiveContext | None = None


class Predict(_Body):
    """The body of /predict: tasks of one project."""

    tasks: list[Task] = Field(min_length=1, max_length=_MAX_TASKS)
    label_config: str
    params: Params = Params()


@router.get("")
@router.get("/health")
@router.get("/{model}/health")
async def health(_: Caller) -> JsonObject:
    """Return that the backend is up; the model is checked by /setup."""
    return {"status": "UP", "model_class": "rise-serve"}


@router.post("/setup")
@router.post("/{model}/setup")
async def setup(body: Setup, backend: BackendDep, _: Caller, model: str | None = None) -> JsonObject:
    """Return the model version, after checking that the project has a control that can show an explanation."""
    read_layout(body.label_config, field="/schema")
    return {"model_version": version_of(await backend.resolve(model))}


@router.get("/versions")
@router.get("/{model}/versions")
async def versions(backend: BackendDep, _: Caller, model: str | None = None) -> JsonObject:
    """Return the only version."""
    return {"versions": [version_of(await backend.resolve(model))]}


@router.post("/predict")
@router.post("/{model}/predict")
async def predict(body: Predict, backend: BackendDep, caller: Caller, model: str | None = None) -> JsonObject:
    """Return a prediction for each task, or for the rectangle that an annotator has drawn on an open one."""
    layout = read_layout(body.label_config, field="/label_config")
    request = await backend.resolve(model)
    jobs = [
        TaskJob(
            task=task.id,
            address=_address_of(task.data.get(layout.field), index, layout.field),
            field=f"/tasks/{index}/data/{layout.field}",
            layout=layout,
            request=request,
            tenant=caller.tenant,
            key=caller.key,
            limits=caller.limits,
            priority="interactive" if len(body.tasks) == 1 else "batch",
        )
        for index, task in enumerate(body.tasks)
    ]
    context = body.params.context
    if context is None or not context.result:
        return {"results": await predictions(backend, jobs)}
    newest = context.result[-1]  # because the older regions are sent too
    return {"results": [await explain_rectangle(backend, jobs[0], _rectangle(newest))]}


def _address_of(address: Any, index: int, field: str) -> str:
    if not isinstance(address, str):
        raise invalid_field(f"/tasks/{index}/data/{field}", "the task has no address of an image here")
    return address


def _rectangle(region: JsonObject) -> Rectangle:
    value = region.get("value")
    try:
        return Rectangle.model_validate(value)
    except ValueError as cause:
        raise invalid_field("/params/context/result/-/value", "draw a rectangle") from cause


@router.post("/webhook", status_code=204)
@router.post("/{model}/webhook", status_code=204)
async def webhook() -> None:
    """Ignore an event: Label Studio sends all of them to ML backends, without a key; this one does not train."""
