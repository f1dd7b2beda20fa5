"""The part of Nuclio's API that a CVAT server uses: lists functions, which are our models, and invokes them.

CVAT requests two routes of the host that `CVAT_NUCLIO_HOST` and `CVAT_NUCLIO_PORT` name, at fixed paths. Any status but
200 fails the whole job of a CVAT user, who sees the status alone: the reason is in this service's log.

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
from app.integrations.cvat.annotations import MAX_MASK_PIXELS, interactor_mask, prediction_shapes, saliency_masks
from app.integrations.cvat.invocation import Invocation, deadline_of
from app.integrations.cvat.nuclio_functions import LEVELS, NuclioFunction, describe, functions_of
from app.integrations.cvat.request import InvocationRequest, read_invocation
from app.rendering.renderer import target_at
from app.services import Services

logger = logging.getLogger(__name__)

_CONCURRENCY = 2  # bodies and masks, because each takes hundreds of megabytes at worst
_MAX_PREDICTIONS = 100
_DEFAULT_THRESHOLD = 0.3  # of a detector's scores, where CVAT sends none


def is_on(settings: Settings) -> bool:
    """Return whether the operator has switched it on."""
    return settings.cvat


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[dict[str, CapacityLimiter]]:
    yield {"cvat_limiter": CapacityLimiter(_CONCURRENCY)}


router = APIRouter(prefix="/api", include_in_schema=False, lifespan=_lifespan)

Caller = Annotated[Principal, Depends(basic_auth_principal)]


@router.get("/functions")
def functions(services: ServicesDep, _: Caller) -> dict[str, JsonObject]:
    """Return all functions by their names; none without a worker, because CVAT requests them for every job."""
    return {name: _description(services, found) for name, found in _functions(services).items()}


@router.get("/functions/{name}")
def function(name: str, services: ServicesDep, _: Caller) -> JsonObject:
    """Return one function."""
    return _description(services, _function_named(services, name))


@router.post("/function_invocations")
async def invoke(
    request: Request,
    services: ServicesDep,
    caller: Caller,
    x_nuclio_function_name: Annotated[str, Header()] = "",
    x_nuclio_invoke_timeout: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the result of a function for an image: a list of shapes and tags, or the mask of an interactor."""
    invocation = Invocation(services, caller, deadline_of(x_nuclio_invoke_timeout, services.settings.max_wait_seconds))
    content = await request.body()
    try:
        response = await _answer(request, invocation, x_nuclio_function_name, content)
    except RiseError as error:
        logger.warning("CVAT's call of %r: %s", x_nuclio_function_name, error)  # because CVAT shows the status alone
        raise
    return Response(response, media_type="application/json")


async def _answer(request: Request, invocation: Invocation, name: str, content: bytes) -> bytes:
    limiter: CapacityLimiter = request.state.cvat_limiter
    selected = await run_in_threadpool(_function_named, invocation.services, name)
    body = await to_thread.run_sync(read_invocation, content, limiter=limiter)
    if selected.kind == "seen":
        return await _predict(request, invocation, selected, body)
    if selected.kind == "inside":
        return await _explain_inside(invocation, selected, body, limiter)
    record = await invocation.explain(selected.model.id, body.image)
    level, threshold = LEVELS[selected.kind], body.threshold or 0.0
    render = partial(saliency_masks, record, invocation.services.renderer, level=level, threshold=threshold)
    return await to_thread.run_sync(render, limiter=limiter)


def _functions(services: Services) -> dict[str, NuclioFunction]:
    return functions_of(services.catalogue.now().models)


def _description(services: Services, found: NuclioFunction) -> JsonObject:
    return describe(found, services.settings.port)


def _function_named(services: Services, name: str) -> NuclioFunction:
    """Return a function by its name.

    Raises:
        RiseError: `not-found`.
    """
    found = _functions(services).get(name)
    if found is None:
        raise RiseError("not-found", f"there is no function {name!r}; see GET /api/functions")
    return found


async def _predict(
    request: Request, invocation: Invocation, selected: NuclioFunction, body: InvocationRequest
) -> bytes:
    """Return what a model predicts, without a map."""
    image = await invocation.services.validator.validate(body.image)
    most = _MAX_PREDICTIONS if selected.label_type == "rectangle" else 1
    predict = partial(invocation.services.predictor.predict, invocation.principal, selected.model.id, body.image, most)
    found = await cancel_on_disconnect(request, invocation.retry(predict))
    threshold = _DEFAULT_THRESHOLD if selected.label_type == "rectangle" else 0.0
    return prediction_shapes(found, image.info, threshold if body.threshold is None else body.threshold)


async def _explain_inside(
    invocation: Invocation, selected: NuclioFunction, body: InvocationRequest, limiter: CapacityLimiter
) -> bytes:
    """Return a mask inside of a box: of a detection of that box, or, where there are no boxes, of the top class.

    Raises:
        RiseError: `image-too-large` where the response would be; `no-target`; what `Invocation.explain` raises.
    """
    image = (await invocation.services.validator.validate(body.image)).info
    if image.width * image.height > MAX_MASK_PIXELS:
        detail = f"an interactor's mask has a number for each pixel of the image, at most {MAX_MASK_PIXELS:,}"
        raise RiseError("image-too-large", detail)
    box = body.box(image)
    detects = selected.model.task != "classification"
    targets: list[JsonObject] | None = [{"box": list(box), "label": None}] if detects else None
    record = await invocation.explain(selected.model.id, body.image, targets)
    if record.has_no_target:
        raise RiseError("no-target", record.error.detail if record.error else "there is nothing to explain")
    region = (0.0, 0.0, float(image.width), float(image.height)) if detects else box
    level, renderer = LEVELS[selected.kind], invocation.services.renderer
    render = partial(interactor_mask, record, renderer, target_at(record, 0), box=region, level=level)
    return await to_thread.run_sync(render, limiter=limiter)
