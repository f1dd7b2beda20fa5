"""An ML backend for Label Studio, at `/integrations/label-studio` or `/integrations/label-studio/MODEL`.

Connected to a project, it answers every task with what the model says, its class or boxes, and where it looked, as
brush masks; and an annotator's rectangle with what speaks inside of it. The model stands in the path, because Label
Studio joins its own words to the address (a query would be lost) and sends its `extra_params` to /setup alone, which
this service would have to remember.

Label Studio waits 1 second for /health, 3 for /setup, 100 for /predict. What is not finished by then is 503, and
sent later (`prediction_pusher.py`). The token that /setup sends is somebody's own: it is neither used nor kept.
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
from app.integrations.label_studio.interactive import Rectangle, answer_interactively
from app.integrations.label_studio.label_config import read_layout
from app.integrations.label_studio.predict import predictions
from app.integrations.label_studio.prediction_pusher import PredictionPusher
from app.label_studio_format.predictions import version_of
from app.maintenance.periodic import running
from app.services import Services

_MOST_TASKS = 100_000  # because "all tasks" come in one request


def is_on(settings: Settings) -> bool:
    """Return whether the operator has said where Label Studio is."""
    return bool(settings.label_studio_url)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, MlBackend]]:
    services: Services = app.state.services
    settings = services.settings
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # because it logs addresses, and clouds sign theirs
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
    """Brush strokes that are drawn already come along, as numbers."""

    most_values = 2_000_000
    most_bytes = 30_000_000


router = APIRouter(prefix="/integrations/label-studio", include_in_schema=False, lifespan=_lifespan, route_class=_Route)


async def _backend(request: Request) -> MlBackend:
    backend: MlBackend = request.state.label_studio
    return backend


async def _caller(services: ServicesDep, caller: Annotated[Principal, Depends(basic_auth_principal)]) -> Principal:
    """Return who asks, by the password that they were given for Label Studio.

    Raises:
        RiseError: `unauthorized`, `forbidden` or `too-many-requests`.
    """
    settings = services.settings
    if settings.keys == "on" and caller.tenant not in settings.label_studio_tenants.replace(",", " ").split():
        raise RiseError("forbidden", "this needs a key of a tenant that RISE_LABEL_STUDIO_TENANTS names")
    return caller


BackendDep = Annotated[MlBackend, Depends(_backend)]
Asking = Annotated[Principal, Depends(_caller)]


class _Body(BaseModel):
    """What is read of a request; Label Studio sends more, and other versions send other things."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Setup(_Body):
    """A project is connected, or asked about again."""

    label_config: str = Field("", alias="schema")


class Task(_Body):
    """A task to predict."""

    id: int = Field(ge=0)
    data: JsonObject


class InteractiveContext(_Body):
    """What an annotator drew."""

    result: list[JsonObject] = Field(default_factory=list)


class Params(_Body):
    """How to predict."""

    context: InteractiveContext | None = None


class Predict(_Body):
    """Tasks to predict, of one project."""

    tasks: list[Task] = Field(min_length=1, max_length=_MOST_TASKS)
    label_config: str
    params: Params = Params()


@router.get("")
@router.get("/health")
@router.get("/{model}/health")
async def health(_: Asking) -> JsonObject:
    """Return that somebody is here; of the model, /setup tells."""
    return {"status": "UP", "model_class": "rise-serve"}


@router.post("/setup")
@router.post("/{model}/setup")
async def setup(body: Setup, backend: BackendDep, _: Asking, model: str | None = None) -> JsonObject:
    """Return the model's version, after checking that the project has something to show an explanation with."""
    read_layout(body.label_config, field="/schema")
    return {"model_version": version_of(await backend.question(model))}


@router.get("/versions")
@router.get("/{model}/versions")
async def versions(backend: BackendDep, _: Asking, model: str | None = None) -> JsonObject:
    """Return the one version there is."""
    return {"versions": [version_of(await backend.question(model))]}


@router.post("/predict")
@router.post("/{model}/predict")
async def predict(body: Predict, backend: BackendDep, caller: Asking, model: str | None = None) -> JsonObject:
    """Return a prediction for each task; or the answer to what an annotator drew on the one that is open."""
    layout = read_layout(body.label_config, field="/label_config")
    request = await backend.question(model)
    errands = [
        TaskJob(
            task=task.id,
            address=_text(task.data.get(layout.field), place, layout.field),
            field=f"/tasks/{place}/data/{layout.field}",
            layout=layout,
            request=request,
            tenant=caller.tenant,
            key=caller.key,
            limits=caller.limits,
            priority="interactive" if len(body.tasks) == 1 else "batch",
        )
        for place, task in enumerate(body.tasks)
    ]
    context = body.params.context
    if context is None or not context.result:
        return {"results": await predictions(backend, errands)}
    newest = context.result[-1]  # because what lay there before comes with it
    return {"results": [await answer_interactively(backend, errands[0], _rectangle(newest))]}


def _text(address: Any, place: int, field: str) -> str:
    if not isinstance(address, str):
        raise invalid_field(f"/tasks/{place}/data/{field}", "the task has no address of an image here")
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
    """Take note of nothing: Label Studio tells ML backends of everything, without a key, and nobody learns here."""
