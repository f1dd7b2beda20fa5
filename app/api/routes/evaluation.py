"""Metrics of finished maps, computed by a worker."""

from typing import Annotated

from fastapi import APIRouter, Body, Request
from fastapi.openapi.models import Example
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import Explainer, ServicesDep, existing_record
from app.api.openapi_components import PROBLEMS
from app.api.request_body import BoundedJsonRoute
from app.auth.principal import Principal
from app.contract.errors import RiseError, invalid_field
from app.contract.queue.fair_queue import SchedulingTags
from app.contract.queue.jobs import MEASURE
from app.contract.schemas import Metric, MetricResult, MetricsRequest, Status
from app.explanations.worker_calls import CALL_SECONDS, cancel_on_disconnect
from app.rendering.renderer import require_meaningful_map
from app.services import Services

router = APIRouter(prefix="/v1/explanations", tags=["metrics"], responses=PROBLEMS, route_class=BoundedJsonRoute)

_LEAST_SECONDS = 1.0
_SECONDS_PER_IMAGE = 0.03  # of a slow model, because the model's speed is not known here
_IMAGES: dict[Metric, int] = {"pointing-game": 0, "energy-in-box": 0, "average-drop": 2, "randomised-model": 512}

EvaluationRequest = Annotated[
    MetricsRequest,
    Body(
        openapi_examples={
            "curves": Example(value={"metrics": ["deletion", "insertion"], "steps": 64, "substrate": "blur"}),
            "pointing": Example(value={"metrics": ["pointing-game"], "box": [40, 30, 180, 160], "tolerance": 15}),
        }
    ),
]


@router.post("/{explanation_id}/metrics", operation_id="measureExplanation")
async def measure(
    explanation_id: str, body: EvaluationRequest, request: Request, services: ServicesDep, caller: Explainer
) -> dict[str, MetricResult]:
    """Measure a finished map: deletion, insertion, pointing game, energy in a box, average drop, with protocols."""
    queue = await run_in_threadpool(_queue, services, caller, explanation_id, body)
    arguments = (explanation_id, body.model_dump(mode="json", exclude_defaults=True))
    call = services.worker_calls.call(caller, queue, MEASURE, *arguments, tags=scheduling_tags_of_metrics(caller, body))
    results = await cancel_on_disconnect(request, call)
    return {name: MetricResult.model_validate(result) for name, result in results.items()}


def scheduling_tags_of_metrics(caller: Principal, body: MetricsRequest) -> SchedulingTags:
    """Return the scheduling tags of a measurement, which is queued fairly like explanations: it may take half a minute.

    A tenant's measurements are a flow of their own beside its explanations, because their client holds a connection:
    behind a hundred explanations of its own tenant it would time out. So a measurement waits for at most one
    explanation of every tenant, an explanation for at most one measurement of every tenant, and a tenant that requests
    both has two shares where another has one. No count of measurements is kept, which a crash could leave wrong.
    """
    images = sum(_IMAGES.get(metric, body.steps) for metric in body.metrics)
    seconds = min(_LEAST_SECONDS + _SECONDS_PER_IMAGE * images, CALL_SECONDS)
    return SchedulingTags(f"{caller.tenant}/{MEASURE}", seconds=seconds)


def _queue(services: Services, caller: Principal, explanation_id: str, body: MetricsRequest) -> str:
    """Return the queue of the workers that can measure a map, which must be finished and have the target."""
    record = existing_record(services, caller, explanation_id)
    if record.status is not Status.SUCCEEDED or record.state is None:
        raise RiseError("not-ready", f"only a finished map can be measured; this explanation is {record.status.value}")
    if body.target >= len(record.targets):
        raise invalid_field("/target", f"this explanation has {len(record.targets)} targets")
    require_meaningful_map(record, record.targets[body.target])
    if len(record.state.fills) > 1:
        raise RiseError("invalid-parameters", "metrics are defined for maps of one fill")
    return services.catalogue.now().queue_of(record.request.model.id)
