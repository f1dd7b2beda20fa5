"""What a model sees in an image, asked of a worker at once: the route of the API does it, and labelling tools do."""

import uuid

from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from app.api.dependencies import Services
from app.auth.principal import Principal
from app.contract.queue.jobs import PREDICT
from app.contract.schemas import Prediction
from app.contract.storage.object_store import PREDICTIONS
from app.explanations.worker_calls import fire_and_forget

_PREDICTIONS = TypeAdapter(list[Prediction])


async def predict_image(
    services: Services, caller: Principal, model_id: str, content: bytes, limit: int
) -> list[Prediction]:
    """Return the classes or detections in an image, the strongest first.

    Raises:
        RiseError: what is wrong with the model or the image, or what `Calls.answer` raises.
    """
    folder = f"{PREDICTIONS}/{uuid.uuid4().hex}"
    queue = await run_in_threadpool(_put, services, model_id, content, f"{folder}/image")
    try:
        found = await services.calls.answer(caller, queue, PREDICT, model_id, f"{folder}/image", limit)
    finally:
        fire_and_forget(services.blobs.discard, folder)
    return _PREDICTIONS.validate_python(found)


def _put(services: Services, model_id: str, content: bytes, name: str) -> str:
    """Put an image where a worker finds it, and return the queue of those that serve a model."""
    catalogue = services.catalogue.now()
    queue = catalogue.queue_of(catalogue.ready_model(model_id).id)
    services.blobs.put(name, services.intake.check(content).content)
    return queue
