"""What a model sees in an image, asked of a worker at once: the route of the API does it, and labelling tools do."""

import uuid

from pydantic import TypeAdapter

from app.contract.blobs import PREDICTIONS
from app.contract.queue import PREDICT
from app.contract.schemas import Prediction
from app.dependencies import Services, call_worker

_PREDICTIONS = TypeAdapter(list[Prediction])


def predicted(services: Services, model_id: str, content: bytes, limit: int) -> list[Prediction]:
    """Return the classes or detections in an image, the strongest first.

    Raises:
        RiseError: what is wrong with the model or the image, or `busy` if no worker answers in time.
    """
    catalogue = services.catalogue.now()
    model = catalogue.ready_model(model_id)
    image = services.intake.check(content)
    folder = f"{PREDICTIONS}/{uuid.uuid4().hex}"
    services.blobs.put(f"{folder}/image", image.content)
    try:
        found = call_worker(services, catalogue.queue_of(model.id), PREDICT, model.id, f"{folder}/image", limit)
    finally:
        services.blobs.discard(folder)
    return _PREDICTIONS.validate_python(found)
