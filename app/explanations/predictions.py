"""Predictions of a model, by a call of a worker."""

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
from app.images.resolver import ImageSourceResolver
from app.images.source import ImageSource
from app.images.validation import ImageValidator

_PREDICTIONS = TypeAdapter(list[Prediction])


@dataclass(frozen=True)
class Predictor:
    """Returns predictions of workers.

    Attributes:
        calls: to workers.
        catalogue: which queue serves a model.
        images: reads images by URL and by id.
        blobs: where the worker finds the image.
        validator: checks the image.
    """

    calls: WorkerCalls
    catalogue: CatalogueReader
    images: ImageSourceResolver
    blobs: BlobStore
    validator: ImageValidator

    async def predict(self, caller: Principal, model_id: str, image: ImageSource, limit: int) -> list[Prediction]:
        """Return the classes or detections in an image, the strongest first, at most `limit`.

        Raises:
            RiseError: `not-found` for a model that no worker has, before an image is fetched; what is wrong with the
                model or the image; what `ImageSourceResolver.content` and `WorkerCalls.call` raise.
        """
        folder = f"{PREDICTIONS}/{uuid.uuid4().hex}"
        queue = await run_in_threadpool(self._queue, model_id)
        content = await self.images.content(caller.tenant, image)
        valid = await self.validator.validate(content)
        try:
            await run_in_threadpool(self.blobs.put, f"{folder}/image", valid.content)
            predictions = await self.calls.call(caller, queue, PREDICT, model_id, f"{folder}/image", limit)
        finally:
            fire_and_forget(self.blobs.discard, folder)
        return _PREDICTIONS.validate_python(predictions)

    def _queue(self, model_id: str) -> str:
        """Return the queue of the workers that serve a model."""
        catalogue = self.catalogue.now()
        return catalogue.queue_of(catalogue.addressed_model(model_id).id)
