"""How good a finished map is: metrics by asking the model again, through the same queue."""

from typing import Annotated

from fastapi import APIRouter, Body
from fastapi.openapi.models import Example

from app.bodies import JsonRoute
from app.contract.errors import RiseError, wrong_field
from app.contract.queue import MEASURE
from app.contract.schemas import MetricResult, MetricsRequest, Status
from app.dependencies import Explainer, Service, call_worker, existing_record
from app.openapi import PROBLEMS

router = APIRouter(prefix="/v1/explanations", tags=["metrics"], responses=PROBLEMS, route_class=JsonRoute)

Asked = Annotated[
    MetricsRequest,
    Body(
        openapi_examples={
            "curves": Example(value={"metrics": ["deletion", "insertion"], "steps": 64, "substrate": "blur"}),
            "pointing": Example(value={"metrics": ["pointing-game"], "box": [40, 30, 180, 160], "tolerance": 15}),
        }
    ),
]


@router.post("/{explanation_id}/metrics", operation_id="measureExplanation")
def measure(explanation_id: str, asked: Asked, services: Service, caller: Explainer) -> dict[str, MetricResult]:
    """Measure a finished map: deletion, insertion, pointing game, energy in a box, average drop, with protocols."""
    record = existing_record(services, caller, explanation_id)
    if record.status is not Status.SUCCEEDED or record.state is None:
        raise RiseError("not-ready", f"only a finished map can be measured; this explanation is {record.status.value}")
    if asked.target >= len(record.targets):
        raise wrong_field("/target", f"this explanation has {len(record.targets)} targets")
    if len(record.state.fills) > 1:
        raise RiseError("invalid-parameters", "metrics are defined for maps of one fill")
    queue = services.catalogue.now().queue_of(record.request.model.id)
    found = call_worker(services, queue, MEASURE, record.id, asked.model_dump(mode="json"))
    return {name: MetricResult.model_validate(result) for name, result in found.items()}
