"""The models of one worker: loaded once, kept, described for the catalogue."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from app.contract.errors import RiseError
from app.contract.schemas import ModelCard, Task
from workers.batching import best_batch
from workers.blackbox import BlackBox, Classifier
from workers.models import digest, load_model
from workers.models_file import ModelEntry, read_models_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready."""

    id: str
    black_box: BlackBox
    digest: str
    batch: int

    @property
    def task(self) -> Task:
        """What kind of question the model answers."""
        return "classification" if isinstance(self.black_box, Classifier) else "detection"


class Collection:
    """Loads the models of a models file; one that fails does not stop the others.

    Args:
        path: the models file.
        device: where models compute.

    Raises:
        ValueError: if the models file is not as it should be.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self._folder = path.resolve().parent
        self._device = device
        self._entries = read_models_file(path)
        self._loaded: dict[str, LoadedModel] = {}
        self._failures: dict[str, str] = {}

    def load_all(self) -> None:
        """Load every model that is not loaded yet."""
        for model_id, entry in self._entries.items():
            if model_id not in self._loaded:
                self._load(model_id, entry)

    def _load(self, model_id: str, entry: ModelEntry) -> None:
        try:
            black_box = load_model(entry, folder=self._folder, device=self._device)
            model = LoadedModel(model_id, black_box, digest(entry, black_box), best_batch(black_box))
            logger.info("model %s is ready, %d images at once", model_id, model.batch)
            self._loaded[model_id] = model
            self._failures.pop(model_id, None)
        except Exception as cause:  # because a model is somebody else's code: whatever it raises is its failure
            logger.exception("model %s does not load", model_id)
            self._failures[model_id] = str(cause) or type(cause).__name__

    def get(self, model_id: str) -> LoadedModel:
        """Return a model.

        Raises:
            RiseError: `model-failed` if it is not loaded here.
        """
        if model_id in self._loaded:
            return self._loaded[model_id]
        reason = self._failures.get(model_id, "this worker does not have it")
        raise RiseError("model-failed", f"model {model_id!r} is not available: {reason}")

    def cards(self) -> list[ModelCard]:
        """Describe every model for the catalogue."""
        return [self._card(model_id) for model_id in self._entries]

    def _card(self, model_id: str) -> ModelCard:
        if model_id in self._failures:
            return ModelCard(id=model_id, state="failed", reason=self._failures[model_id])
        if model_id not in self._loaded:
            return ModelCard(id=model_id, state="loading")
        model = self._loaded[model_id]
        return ModelCard(
            id=model_id,
            task=model.task,
            labels=list(model.black_box.labels),
            input_size=model.black_box.preprocessing.size,
            digest=model.digest,
            state="ready",
        )
