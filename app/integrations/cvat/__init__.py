"""A Nuclio, as a CVAT server sees one: functions that are our models, for its annotators to call.

CVAT asks two routes of the host that `CVAT_NUCLIO_HOST` and `CVAT_NUCLIO_PORT` name, at fixed paths: what functions
there are (or one of them), and to invoke one. Whatever is not 200 fails the whole job of a CVAT user, who sees the
status alone: the reason stands in this service's log.

CVAT has no setting for a key. But `CVAT_NUCLIO_HOST` goes into a URL as it is, so `cvat:KEY@host` sends the key as the
password of HTTP Basic.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import ServicesDep, basic_auth_principal
from app.auth.principal import Principal
from app.contract.errors import RiseError
from app.contract.schemas import JsonObject
from app.contract.settings import Settings
from app.explanations.worker_calls import cancel_on_disconnect
from app.integrations.cvat.annotations import MOST_PIXELS, salient, salient_inside, seen
from app.integrations.cvat.functions import LEVELS, NuclioFunction, description, functions_of
from app.integrations.cvat.invocation import Invocation, deadline_of
from app.integrations.cvat.request import InvocationRequest, read_invocation
from app.rendering.renderer import target_at
from app.services import Services

logger = logging.getLogger(__name__)

_AT_ONCE = 2  # bodies that are read and answers that are drawn, because each takes hundreds of megabytes at worst
_MOST_SEEN = 100
_THRESHOLD = 0.3  # of what a detector sees, where CVAT names none


def is_on(settings: Settings) -> bool:
    """Return whether the operator has switched it on."""
    return settings.cvat


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[dict[str, CapacityLimiter]]:
    yield {"cvat_turns": CapacityLimiter(_AT_ONCE)}


router = APIRouter(prefix="/api", include_in_schema=False, lifespan=_lifespan)

Asking = Annotated[Principal, Depends(basic_auth_principal)]


@router.get("/functions")
def functions(services: ServicesDep, _: Asking) -> dict[str, JsonObject]:
    """Return all functions by their names; none without a worker, because CVAT asks whenever a job is opened."""
    return {name: _described(services, found) for name, found in _functions(services).items()}


@router.get("/functions/{name}")
def function(name: str, services: ServicesDep, _: Asking) -> JsonObject:
    """Return one function."""
    return _described(services, _known(services, name))


@router.post("/function_invocations")
async def invoke(
    request: Request,
    services: ServicesDep,
    caller: Asking,
    x_nuclio_function_name: Annotated[str, Header()] = "",
    x_nuclio_invoke_timeout: Annotated[str | None, Header()] = None,
) -> Response:
    """Return what a function says of an image: a list of shapes and tags, or the mask of an interactor."""
    invocation = Invocation(services, caller, deadline_of(x_nuclio_invoke_timeout, services.settings.max_wait_seconds))
    content = await request.body()
    try:
        answer = await _answer(request, invocation, x_nuclio_function_name, content)
    except RiseError as problem:
        logger.warning("CVAT's call of %r: %s", x_nuclio_function_name, problem)  # because CVAT shows the status alone
        raise
    return Response(answer, media_type="application/json")


async def _answer(request: Request, invocation: Invocation, name: str, content: bytes) -> bytes:
    turns: CapacityLimiter = request.state.cvat_turns
    called = await run_in_threadpool(_known, invocation.services, name)
    asked = await to_thread.run_sync(read_invocation, content, limiter=turns)
    if called.kind == "seen":
        return await _predict(request, invocation, called, asked)
    if called.kind == "inside":
        return await _explain_inside(invocation, called, asked, turns)
    record = await invocation.explain(called.model.id, asked.image)
    level, threshold = LEVELS[called.kind], asked.threshold or 0.0
    drawn = partial(salient, record, invocation.services.renderer, level=level, threshold=threshold)
    return await to_thread.run_sync(drawn, limiter=turns)


def _functions(services: Services) -> dict[str, NuclioFunction]:
    return functions_of(services.catalogue.now().models)


def _described(services: Services, found: NuclioFunction) -> JsonObject:
    return description(found, services.settings.port)


def _known(services: Services, name: str) -> NuclioFunction:
    """Return a function by its name.

    Raises:
        RiseError: `not-found`.
    """
    found = _functions(services).get(name)
    if found is None:
        raise RiseError("not-found", f"there is no function {name!r}; see GET /api/functions")
    return found


async def _predict(request: Request, invocation: Invocation, called: NuclioFunction, asked: InvocationRequest) -> bytes:
    """Return what a model sees, without a map."""
    image = await invocation.services.validator.validate(asked.image)
    most = _MOST_SEEN if called.label_type == "rectangle" else 1
    asking = partial(invocation.services.predictor.predict, invocation.principal, called.model.id, asked.image, most)
    found = await cancel_on_disconnect(request, invocation.retry(asking))
    least = _THRESHOLD if called.label_type == "rectangle" else 0.0
    return seen(found, image.info, least if asked.threshold is None else asked.threshold)


async def _explain_inside(
    invocation: Invocation, called: NuclioFunction, asked: InvocationRequest, turns: CapacityLimiter
) -> bytes:
    """Return what speaks inside of a box: for a detection of that box, or, where there are no boxes, for the top class.

    Raises:
        RiseError: `image-too-large` where CVAT would get too many numbers; `no-target`; or what is wrong.
    """
    image = (await invocation.services.validator.validate(asked.image)).info
    if image.width * image.height > MOST_PIXELS:
        detail = f"an interactor's mask has a number for each pixel of the image, at most {MOST_PIXELS:,}"
        raise RiseError("image-too-large", detail)
    box = asked.box(image)
    detects = called.model.task == "detection"
    targets: list[JsonObject] | None = [{"box": list(box), "label": None}] if detects else None
    record = await invocation.explain(called.model.id, asked.image, targets)
    if record.found_nothing:
        raise RiseError("no-target", record.error.detail if record.error else "there is nothing to explain")
    area = (0.0, 0.0, float(image.width), float(image.height)) if detects else box
    subject = target_at(record, 0)
    drawn = partial(salient_inside, record, invocation.services.renderer, subject, box=area, level=LEVELS[called.kind])
    return await to_thread.run_sync(drawn, limiter=turns)
