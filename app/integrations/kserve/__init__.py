"""An explainer of KServe's V1 protocol: `POST /v1/models/NAME:explain`, for any model that this service has.

The routes are below `/integrations/kserve` in the service, where `/v1/models` is the service's own, and at the root in
`rise-serve kserve` (`app/cli/kserve/application.py`), to which KServe's controller routes `/v1/models/NAME:explain`.

KServe's clients wait 60 seconds. What is not finished a little earlier is 504 with its `job_id`; it goes on, and the
same request finds it finished, because explanations are content-addressed.

`X-Request-ID` is forwarded to the model's server. `Authorization` is not: it would have to be stored in the queue, and
an explanation outlives its request and is returned to others, who may have other rights. It is the key of this service,
where that has keys; the credentials of the predictor are set by the operator.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import Explainer, Reader, ServicesDep
from app.contract.errors import RiseError, reported_error
from app.contract.schemas import ExplanationRecord, JsonObject, ModelCard, Status
from app.contract.settings import Settings
from app.explanations.catalogue import Catalogue
from app.integrations.kserve.errors import KServeErrorRoute
from app.integrations.kserve.openapi import ERRORS, EXPLAIN_BODY, Unfinished
from app.integrations.kserve.request import read_instances
from app.integrations.kserve.response import ExplainResponse, build_response, read_response_options
from app.integrations.kserve.submission import submit_all, wait_for_all

_WAIT_SECONDS = 50.0
_READ_CONCURRENCY = 2  # because parsed numbers take ten times the memory of their image


def is_on(settings: Settings) -> bool:
    """Return whether the operator has switched it on."""
    return settings.kserve


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[dict[str, CapacityLimiter]]:
    yield {"kserve_readers": CapacityLimiter(_READ_CONCURRENCY)}


explainer = APIRouter(prefix="/v1/models", tags=["kserve"], route_class=KServeErrorRoute, responses=ERRORS)


@explainer.get("", operation_id="listModelsOfKServe")
def models(services: ServicesDep, _: Reader) -> dict[str, list[str]]:
    """Return the names of all models."""
    return {"models": [card.id for card in services.catalogue.now().models]}


@explainer.get("/{model}", operation_id="isModelReady")
def readiness(model: str, services: ServicesDep, _: Reader) -> JsonObject:
    """Return that a model is ready to be explained; 503 where it is not."""
    card = _model_card(services.catalogue.now(), model)
    if card.state != "ready":
        raise RiseError("no-worker", f"model {model!r} is not ready: {card.reason or card.state}")
    return {"name": card.id, "ready": True}


@explainer.post(
    "/{model}:explain",
    operation_id="explainInstances",
    openapi_extra=EXPLAIN_BODY,
    responses={
        200: {"model": ExplainResponse, "description": "At least one has succeeded; the others say why they have not."},
        504: {"model": Unfinished, "description": "Not finished in time."},
    },
)
async def explain(model: str, request: Request, services: ServicesDep, caller: Explainer) -> Response:
    """Explain what a model sees in some pictures: send the body again after 504."""
    content = await request.body()
    body = await to_thread.run_sync(read_instances, content, limiter=request.state.kserve_readers)
    options, parameters = read_response_options(body.parameters)
    _model_card(await run_in_threadpool(services.catalogue.now), model)
    records = await submit_all(services, caller, model, body.images, parameters)
    seconds = _WAIT_SECONDS if options.wait is None else options.wait
    records = await wait_for_all(services, caller, records, min(seconds, services.settings.max_wait_seconds))
    unfinished = [record.id for record in records if not record.status.ended]
    if unfinished:
        detail = "the explanation is not finished; it goes on, and the same request finds it finished"
        late = Unfinished(error=f"{detail}: {unfinished[0]}", job_id=unfinished[0], job_ids=unfinished)
        return JSONResponse(late.model_dump(), 504)
    if all(record.status is not Status.SUCCEEDED for record in records):
        raise _failure(records[0])
    answer = await run_in_threadpool(build_response, records, services.renderer, options)
    return Response(await run_in_threadpool(answer.model_dump_json), media_type="application/json")


def _model_card(catalogue: Catalogue, model: str) -> ModelCard:
    """Return the card of a model.

    Raises:
        RiseError: `not-found`, or `no-worker` without any worker.
    """
    if not catalogue.announcements:
        raise RiseError("no-worker", "no worker is running; see GET /readyz")
    found = next((card for card in catalogue.models if card.id == model), None)
    if found is None:
        raise RiseError("not-found", f"there is no model {model!r}; see GET /v1/models")
    return found


def _failure(record: ExplanationRecord) -> RiseError:
    """Return why an explanation has no maps."""
    if record.error is None:
        return RiseError("not-ready", "the explanation was cancelled; ask again")
    return reported_error(record.error.code, record.error.detail)


router = APIRouter(prefix="/integrations/kserve", include_in_schema=False, lifespan=_lifespan)
router.include_router(explainer)
root_router = APIRouter(lifespan=_lifespan)
root_router.include_router(explainer)
