"""An explainer as KServe knows it: `POST /v1/models/NAME:explain`, for any model that this service has.

The routes stand below `/integrations/kserve` in the service, where `/v1/models` is the service's own, and at the root
in `rise-serve kserve` (`app/cli/kserve_app.py`), where KServe's controller routes `/v1/models/NAME:explain` to.

KServe's clients wait 60 seconds. What is not finished a little earlier is 504 with its `job_id`; it goes on, and the
same request finds it finished, because explanations are content-addressed.

`X-Request-ID` travels with an explanation to the model's server. `Authorization` does not: it would have to lie in the
queue, where a secret has no place, and an explanation outlives its request and answers the next one who asks, who may
have other rights. It is this service's own key where it has keys; what the predictor asks for, the operator sets.
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
_READ_AT_ONCE = 2  # because parsed numbers take ten times the memory of their picture


def is_on(settings: Settings) -> bool:
    """Return whether the operator has switched it on."""
    return settings.kserve


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[dict[str, CapacityLimiter]]:
    yield {"kserve_readers": CapacityLimiter(_READ_AT_ONCE)}


explainer = APIRouter(prefix="/v1/models", tags=["kserve"], route_class=KServeErrorRoute, responses=ERRORS)


@explainer.get("", operation_id="listModelsOfKServe")
def models(services: ServicesDep, _: Reader) -> dict[str, list[str]]:
    """Return the names of all models."""
    return {"models": [card.id for card in services.catalogue.now().models]}


@explainer.get("/{model}", operation_id="isModelReady")
def readiness(model: str, services: ServicesDep, _: Reader) -> JsonObject:
    """Return that a model is ready to be explained; 503 where it is not."""
    card = _known(services.catalogue.now(), model)
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
    asked = await to_thread.run_sync(read_instances, content, limiter=request.state.kserve_readers)
    shown, parameters = read_response_options(asked.parameters)
    _known(await run_in_threadpool(services.catalogue.now), model)
    records = await submit_all(services, caller, model, asked.images, parameters)
    seconds = _WAIT_SECONDS if shown.wait is None else shown.wait
    records = await wait_for_all(services, caller, records, min(seconds, services.settings.max_wait_seconds))
    unfinished = [record.id for record in records if not record.status.ended]
    if unfinished:
        detail = "the explanation is not finished; it goes on, and the same request finds it finished"
        late = Unfinished(error=f"{detail}: {unfinished[0]}", job_id=unfinished[0], job_ids=unfinished)
        return JSONResponse(late.model_dump(), 504)
    if all(record.status is not Status.SUCCEEDED for record in records):
        raise _failure(records[0])
    answer = await run_in_threadpool(build_response, records, services.renderer, shown)
    return Response(await run_in_threadpool(answer.model_dump_json), media_type="application/json")


def _known(catalogue: Catalogue, model: str) -> ModelCard:
    """Return what is known of a model.

    Raises:
        RiseError: `not-found`, or `no-worker` where nobody knows.
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
at_the_root = APIRouter(lifespan=_lifespan)
at_the_root.include_router(explainer)
