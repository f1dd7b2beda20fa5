"""What there is: models, methods, fills; and what a model says about an image."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from app.api.dependencies import Explainer, Reader, ServicesDep
from app.api.openapi_components import PREDICT_BODY, PROBLEMS
from app.api.request_body import read_body
from app.contract.errors import unknown_choice
from app.contract.schemas import MethodCard, ModelCard, Prediction
from app.explanations.worker_calls import cancel_on_disconnect

router = APIRouter(prefix="/v1", tags=["catalogue"], responses=PROBLEMS)


@router.get("/models", operation_id="listModels")
def models(services: ServicesDep, _: Reader) -> list[ModelCard]:
    """Return every model: its task, labels, input size, and whether it is ready."""
    return services.catalogue.now().models


@router.get("/methods", operation_id="listMethods")
def methods(services: ServicesDep, _: Reader) -> list[MethodCard]:
    """Return every method with the JSON Schema of its parameters: defaults, limits, descriptions."""
    return services.catalogue.now().methods


@router.get("/fills", operation_id="listFills")
def fills(services: ServicesDep, _: Reader) -> list[str]:
    """Return the names of fills: what is shown where a mask hides. A colour `#rrggbb` is a fill too."""
    return services.catalogue.now().fills


@router.post("/models/{model_id}/predict", operation_id="predict", openapi_extra=PREDICT_BODY)
async def predict(
    model_id: str,
    request: Request,
    services: ServicesDep,
    caller: Explainer,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
) -> list[Prediction]:
    """Return what a model sees in an image, the strongest first: what can be explained."""
    body = await read_body(request)
    if body.fields:
        raise unknown_choice(f"/{next(iter(body.fields))}", next(iter(body.fields)), ["image"])
    return await cancel_on_disconnect(request, services.predictor.predict(caller, model_id, body.image, limit))
