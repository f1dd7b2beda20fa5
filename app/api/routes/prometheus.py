"""What the service has done and does now, for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from app.api.dependencies import Administrator, ServicesDep
from app.api.openapi_components import PROBLEMS
from app.prometheus_metrics import ServiceCollector

router = APIRouter(tags=["health"], responses=PROBLEMS)


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(services: ServicesDep, _: Administrator) -> Response:
    """Return metrics in Prometheus' text format: this process's requests, and all that the service's workers did."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(services))
    return Response(generate_latest(REGISTRY) + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
