"""How good a finished map is: metrics by asking the model again, through the same queue."""

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
_SECONDS_PER_PICTURE = 0.03  # of a slow model, because none is told before
_PICTURES: dict[Metric, int] = {"pointing-game": 0, "energy-in-box": 0, "average-drop": 2, "randomised-model": 512}

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
    explanation_id: str, asked: EvaluationRequest, request: Request, services: ServicesDep, caller: Explainer
) -> dict[str, MetricResult]:
    """Measure a finished map: deletion, insertion, pointing game, energy in a box, average drop, with protocols."""
    queue = await run_in_threadpool(_queue, services, caller, explanation_id, asked)
    arguments = (explanation_id, asked.model_dump(mode="json", exclude_defaults=True))
    measured = services.calls.answer(caller, queue, MEASURE, *arguments, turn=turn_of(caller, asked))
    found = await cancel_on_disconnect(request, measured)
    return {name: MetricResult.model_validate(result) for name, result in found.items()}


def turn_of(caller: Principal, asked: MetricsRequest) -> SchedulingTags:
    """Return where a measurement waits: it may take half a minute, so it takes its turn as explanations do.

    But a tenant's measurements take turns of their own, beside those of its explanations. Their client waits, and not
    for long: behind a hundred explanations of its own tenant none would ever be answered. So each waits for at most one
    explanation of every tenant, every explanation for at most one measurement of every tenant, and a tenant that asks
    for both has two turns where another has one. It needs no count of who measures, which a crash could leave wrong.
    """
    pictures = sum(_PICTURES.get(metric, asked.steps) for metric in asked.metrics)
    seconds = min(_LEAST_SECONDS + _SECONDS_PER_PICTURE * pictures, CALL_SECONDS)
    return SchedulingTags(f"{caller.tenant}/{MEASURE}", seconds=seconds)


def _queue(services: Services, caller: Principal, explanation_id: str, asked: MetricsRequest) -> str:
    """Return the queue of the workers that can measure a map, of which there must be what is asked for."""
    record = existing_record(services, caller, explanation_id)
    if record.status is not Status.SUCCEEDED or record.state is None:
        raise RiseError("not-ready", f"only a finished map can be measured; this explanation is {record.status.value}")
    if asked.target >= len(record.targets):
        raise invalid_field("/target", f"this explanation has {len(record.targets)} targets")
    require_meaningful_map(record, record.targets[asked.target])
    if len(record.state.fills) > 1:
        raise RiseError("invalid-parameters", "metrics are defined for maps of one fill")
    return services.catalogue.now().queue_of(record.request.model.id)
