"""The models of one worker: loaded, kept while memory lasts, described for the catalogue.

Every model is loaded once when the worker starts, because the catalogue needs its labels and its digest, and because
a model that does not load should be known in the morning and not at three at night. One without `preload` is let go
again until somebody asks for it. When memory runs short, the model that was not used for longest goes first.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from app.contract.errors import RiseError
from app.contract.schemas import ModelCard, Task
from workers.batching import best_batch
from workers.blackbox import BlackBox, Classifier
from workers.loading.entry import ModelEntry
from workers.memory import free_share
from workers.models import digest_of, load_model
from workers.models_file import read_models_file

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 600.0
_FREE_ENOUGH = 0.1  # share of a device's memory below which a model makes room for the next


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
        device: where models compute unless their entry says otherwise.
        free: tells which share of a device's memory is free.

    Raises:
        ValueError: if the models file is not as it should be.
    """

    def __init__(self, path: Path, device: torch.device, *, free: Callable[[torch.device], float] = free_share) -> None:
        self._path = path
        self._device = device
        self._free = free
        self._entries = read_models_file(path)
        self._loaded: dict[str, LoadedModel] = {}  # the one used last stands last
        self._replaced: dict[str, LoadedModel] = {}  # earlier versions by their digest
        self._cards: dict[str, ModelCard] = {}
        self._lock = threading.RLock()  # one load at a time; a reload comes from a thread of its own

    def load_all(self) -> None:
        """Load every model that is not known yet, those to keep first."""
        with self._lock:
            for model_id, entry in sorted(self._entries.items(), key=lambda item: not item[1].preload):
                if model_id not in self._cards:
                    self._load(model_id, entry)
                if not entry.preload:
                    self._let_go(model_id)

    def reload(self) -> None:
        """Read the models file again, and load what has changed; a file with errors changes nothing.

        A model that was replaced stays while memory lasts, for the explanations that were accepted with its digest.
        """
        try:
            entries = read_models_file(self._path)
        except ValueError:
            logger.exception("the models file was not reloaded")
            return
        with self._lock:
            changed = {model_id for model_id in self._cards if not self._is_same(model_id, entries.get(model_id))}
            for model in [self._loaded.pop(model_id) for model_id in changed & self._loaded.keys()]:
                self._replaced[model.digest] = model
            self._entries = entries
            self._cards = {model_id: card for model_id, card in self._cards.items() if model_id not in changed}
            self.load_all()

    def _is_same(self, model_id: str, entry: ModelEntry | None) -> bool:
        """Return whether a model that is in memory is still what the models file and its weights say."""
        model = self._loaded.get(model_id)
        if entry is None or model is None or digest_of(entry, model.black_box) != model.digest:
            return False
        return model.black_box.has_changed is None or not model.black_box.has_changed()

    def get(self, model_id: str, digest: str | None = None) -> LoadedModel:
        """Return a model; one that is not in memory is loaded.

        Args:
            model_id: its id.
            digest: which version; None takes the present one.

        Raises:
            RiseError: `model-failed` if this worker does not have it, it does not load, or it has changed.
        """
        with self._lock:
            if digest in self._replaced:
                return self._replaced[digest]
            model = self._present(model_id)
        if digest is not None and model.digest != digest:
            raise RiseError("model-failed", f"model {model_id!r} has changed since the request was made; send it again")
        return model

    def _present(self, model_id: str) -> LoadedModel:
        if model_id not in self._entries:
            raise RiseError("model-failed", f"model {model_id!r} is not here; there is {', '.join(self._entries)}")
        if model_id not in self._loaded:
            self._load(model_id, self._entries[model_id])
        if model_id not in self._loaded:
            raise RiseError("model-failed", f"model {model_id!r} is not available: {self._cards[model_id].reason}")
        self._loaded[model_id] = self._loaded.pop(model_id)
        return self._loaded[model_id]

    def keep_trying(self, stopping: threading.Event, *, first_pause_seconds: float = 30.0) -> None:
        """Load once more what failed, until stopped: a server that was down may be up again.

        Pauses double up to ten minutes while anything still fails.
        """
        pause = first_pause_seconds
        while not stopping.wait(pause):
            try:
                fails = self._try_again()
            except Exception:  # because nothing else tries again
                logger.exception("models cannot be loaded again now")
                fails = True
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if fails else first_pause_seconds

    def _try_again(self) -> bool:
        """Return whether anything still fails."""
        with self._lock:
            failed = [model_id for model_id, card in self._cards.items() if card.state == "failed"]
            for model_id in failed:
                self._load(model_id, self._entries[model_id])
            return any(self._cards[model_id].state == "failed" for model_id in failed)

    def cards(self) -> list[ModelCard]:
        """Describe every model for the catalogue."""
        return [self._cards.get(model_id) or ModelCard(id=model_id, state="loading") for model_id in self._entries]

    def _load(self, model_id: str, entry: ModelEntry) -> None:
        try:
            model = self._loaded[model_id] = self._read(model_id, entry)
            self._cards[model_id] = _card(model, entry)
            logger.info("model %s is ready, %d images at once", model_id, model.batch)
        except Exception as cause:  # because a model is somebody else's code: whatever it raises is its failure
            logger.exception("model %s does not load", model_id)
            reason = str(cause) or type(cause).__name__
            self._cards[model_id] = ModelCard(id=model_id, state="failed", reason=reason)

    def _read(self, model_id: str, entry: ModelEntry) -> LoadedModel:
        """Load a model, letting others go while memory is short."""
        while self._free(self._device) < _FREE_ENOUGH and self._let_go_of_the_oldest():
            pass
        while True:
            try:
                black_box = load_model(entry, folder=self._path.resolve().parent, device=self._device)
                batch = entry.limits.batch or best_batch(black_box)
                return LoadedModel(model_id, black_box, digest_of(entry, black_box), batch)
            except torch.OutOfMemoryError:
                if not self._let_go_of_the_oldest():
                    raise

    def _let_go_of_the_oldest(self) -> bool:
        """Let go of the version or model that nobody has used for longest; False where there is none."""
        if self._replaced:
            self._replaced.pop(next(iter(self._replaced)))
        elif self._loaded:
            oldest = next(iter(self._loaded))
            logger.info("memory is short: model %s goes until it is asked for again", oldest)
            self._let_go(oldest)
        else:
            return False
        return True

    def _let_go(self, model_id: str) -> None:
        self._loaded.pop(model_id, None)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _card(model: LoadedModel, entry: ModelEntry) -> ModelCard:
    return ModelCard(
        id=model.id,
        task=model.task,
        labels=list(model.black_box.labels),
        input_size=model.black_box.preprocessing.size,
        digest=model.digest,
        max_masks=entry.limits.masks,
        batch=model.batch,
        state="ready",
    )
