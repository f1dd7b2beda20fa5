"""What a model sees in an image, asked of a worker while the client waits."""

import uuid
from dataclasses import dataclass

from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from app.auth.principal import Principal
from app.contract.queue.jobs import PREDICT
from app.contract.schemas import Prediction
from app.contract.storage.object_store import PREDICTIONS, BlobStore
from app.explanations.catalogue import CatalogueReader
from app.explanations.worker_calls import WorkerCalls, fire_and_forget
from app.images.validation import ImageValidator, ValidatedImage

_PREDICTIONS = TypeAdapter(list[Prediction])


@dataclass(frozen=True)
class Predictor:
    """Asks a worker for predictions.

    Attributes:
        calls: to workers.
        catalogue: which queue serves a model.
        blobs: where the worker finds the image.
        validator: checks the image.
    """

    calls: WorkerCalls
    catalogue: CatalogueReader
    blobs: BlobStore
    validator: ImageValidator

    async def predict(self, caller: Principal, model_id: str, content: bytes, limit: int) -> list[Prediction]:
        """Return the classes or detections in an image, the strongest first, at most `limit`.

        Raises:
            RiseError: what is wrong with the model or the image, or what `WorkerCalls.answer` raises.
        """
        folder = f"{PREDICTIONS}/{uuid.uuid4().hex}"
        image = await self.validator.validate(content)
        queue = await run_in_threadpool(self._put, model_id, image, f"{folder}/image")
        try:
            found = await self.calls.answer(caller, queue, PREDICT, model_id, f"{folder}/image", limit)
        finally:
            fire_and_forget(self.blobs.discard, folder)
        return _PREDICTIONS.validate_python(found)

    def _put(self, model_id: str, image: ValidatedImage, name: str) -> str:
        """Put an image where a worker finds it, and return the queue of those that serve a model."""
        catalogue = self.catalogue.now()
        queue = catalogue.queue_of(catalogue.ready_model(model_id).id)
        self.blobs.put(name, image.content)
        return queue
