"""The models of one worker: loaded, kept while memory lasts, described for the catalogue.

Every model is loaded once when the worker starts, because the catalogue needs its labels and its digest, and because
a model that does not load should be known from the start. One without `preload` is evicted again until it is requested.
When memory runs short, the least recently used model is evicted first.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from app.contract.errors import RiseError
from app.contract.schemas import Assumption, AssumptionSource, ModelCard, Task
from workers.blackbox import BlackBox, Classifier, Detector, Segmenter
from workers.blackbox.batch_size import autotune_batch_size
from workers.blackbox.memory import free_share
from workers.model_io.model_entry import ModelEntry
from workers.models import digest_of, load_model
from workers.registry.models_file import read_models_file

logger = logging.getLogger(__name__)

_TASKS: dict[type[BlackBox], Task] = {
    Classifier: "classification",
    Detector: "detection",
    Segmenter: "segmentation",
}
_MAX_PAUSE_SECONDS = 600.0
_MAX_WAIT_SECONDS = 5.0  # for one load; beside others, a load of a few seconds would only delay all of them
_MIN_FREE_SHARE = 0.1  # share of a device's memory below which a model makes room for the next


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready."""

    id: str
    black_box: BlackBox
    digest: str
    batch: int
    default_fill: str = "black"

    @property
    def task(self) -> Task:
        """What the model computes."""
        return _TASKS[type(self.black_box)]


class ModelRegistry:
    """Loads the models of a models file; one that fails, or takes long, does not stop the others.

    Every load runs on a thread of its own, one at a time for each model, and callers wait for that thread. So the time
    limit of a job interrupts the wait and not the load. The lock guards only the dictionaries.

    Args:
        path: the models file.
        device: where models compute unless their entry says otherwise.
        free: returns which share of a device's memory is free.

    Raises:
        ValueError: if the models file is not as it should be.
    """

    def __init__(self, path: Path, device: torch.device, *, free: Callable[[torch.device], float] = free_share) -> None:
        self._path = path
        self._device = device
        self._free = free
        self._entries = read_models_file(path)
        self._loaded: dict[str, LoadedModel] = {}  # the one used last is last
        self._replaced: dict[str, LoadedModel] = {}  # earlier versions by their digest
        self._cards: dict[str, ModelCard] = {}
        self._loads: dict[str, Future[LoadedModel | None]] = {}  # those in progress
        self._lock = threading.Lock()
        self._reloading = threading.Lock()  # held for a whole reload

    def load_all(self) -> None:
        """Load every model that is not known yet, those to keep first, and wait for all."""
        wait(self.load_local())

    def load_local(self) -> list[Future[LoadedModel | None]]:
        """Load every model that is not known yet, one after the other, without waiting long for any.

        One that takes long goes on beside the next ones, and beside the jobs of those that are ready: a file may be
        large, and a server that does not answer takes minutes to fail.

        Returns:
            The loads that go on.
        """
        unknown = {model_id: entry for model_id, entry in self._entries.items() if model_id not in self._cards}
        loads = [self._load(model_id) for model_id, entry in unknown.items() if _is_remote(entry)]
        for model_id, entry in sorted(unknown.items(), key=lambda item: not item[1].preload):
            if not _is_remote(entry) and not self._load_within(_MAX_WAIT_SECONDS, model_id, keep=entry.preload):
                loads.append(self._load(model_id))
        return loads

    def _load_within(self, seconds: float, model_id: str, *, keep: bool) -> bool:
        """Load a model, and return whether that has ended within `seconds`; it goes on otherwise."""
        load = self._load(model_id)
        done = bool(wait([load], timeout=seconds).done)
        if not keep and done:
            self._evict(model_id)
        elif not keep:
            load.add_done_callback(lambda _: self._evict(model_id))
        return done

    def reload(self) -> None:
        """Read the models file again, and load what has changed; a file with errors changes nothing.

        A model that was replaced stays while memory lasts, for the explanations that were accepted with its digest.
        """
        with self._reloading:
            try:
                entries = read_models_file(self._path)
            except ValueError:
                logger.exception("the models file was not reloaded")
                return
            same = {model_id for model_id in entries if self._is_same(model_id, entries[model_id])}
            self._replace(entries, same)
            self.load_local()

    def _is_same(self, model_id: str, entry: ModelEntry) -> bool:
        """Return whether a model that is in memory is still what the models file and its weights say."""
        model = self._loaded.get(model_id)
        if model is None or digest_of(entry, model.black_box) != model.digest:
            return False
        return model.black_box.has_changed is None or not model.black_box.has_changed()

    def _replace(self, entries: dict[str, ModelEntry], same: set[str]) -> None:
        """Adopt the entries of a models file; unchanged ones stay the same objects, which loads in progress compare."""
        with self._lock:
            for model_id in [model_id for model_id in self._loaded if model_id not in same]:
                model = self._loaded.pop(model_id)
                self._replaced[model.digest] = model
            self._cards = {model_id: card for model_id, card in self._cards.items() if model_id in same}
            self._entries = {
                model_id: self._entries[model_id] if model_id in same else entry for model_id, entry in entries.items()
            }

    def get(self, model_id: str, digest: str | None = None) -> LoadedModel:
        """Return a model, loaded first where it is not in memory.

        Args:
            model_id: its id.
            digest: which version; None takes the present one.

        Raises:
            RiseError: `model-failed` if this worker does not have it, it does not load, or it has changed.
        """
        with self._lock:
            if digest in self._replaced:
                return self._replaced[digest]
            model = self._touch(model_id)
        if model is None:
            model = self._load(model_id).result()
        if model is None:
            raise RiseError("model-failed", f"model {model_id!r} is not available: {self._reason(model_id)}")
        if digest is not None and model.digest != digest:
            raise RiseError("model-failed", f"model {model_id!r} has changed since the request was made; send it again")
        return model

    def _touch(self, model_id: str) -> LoadedModel | None:
        """Return a model that is in memory and mark it as used last; None where it is not in memory."""
        if model_id not in self._entries:
            raise RiseError("model-failed", f"model {model_id!r} is not here; there is {', '.join(self._entries)}")
        model = self._loaded.pop(model_id, None)
        if model is not None:
            self._loaded[model_id] = model
        return model

    def _reason(self, model_id: str) -> str:
        card = self._cards.get(model_id)
        return card.reason or "" if card else "it was removed from the models file"

    def retry_failed_loads(self, stopping: threading.Event, *, first_pause_seconds: float = 30.0) -> None:
        """Retry failed loads until stopped: a server that was down may be up again.

        Pauses double up to ten minutes while anything fails.
        """
        pause = first_pause_seconds
        while not stopping.wait(pause):
            failed = [card.id for card in self.cards() if card.state == "failed"]
            for model_id in failed:
                self._load(model_id)
            pause = min(2 * pause, _MAX_PAUSE_SECONDS) if failed else first_pause_seconds

    def cards(self) -> list[ModelCard]:
        """Describe every model for the catalogue."""
        return [self._cards.get(model_id) or ModelCard(id=model_id, state="loading") for model_id in self._entries]

    def _load(self, model_id: str) -> Future[LoadedModel | None]:
        """Return the load of a model in progress, or start one; its result is None where the model does not load."""
        with self._lock:
            load = self._loads.get(model_id)
            if load is None:
                load = self._loads[model_id] = Future()
                run = partial(copy_context().run, self._run, model_id, load)
                threading.Thread(target=run, name=f"load {model_id}", daemon=True).start()
            return load

    def _run(self, model_id: str, load: Future[LoadedModel | None]) -> None:
        try:
            while not self._try_to_load(model_id, load):
                logger.info("model %s is loaded again, because its entry changed meanwhile", model_id)
        except BaseException as error:  # because a caller waits for the future
            with self._lock:
                del self._loads[model_id]
            load.set_exception(error)
            raise

    def _try_to_load(self, model_id: str, load: Future[LoadedModel | None]) -> bool:
        """Load a model; return False where a reload has changed its entry meanwhile."""
        entry = self._entries.get(model_id)
        model, card = self._load_or_fail(model_id, entry) if entry is not None else (None, None)
        with self._lock:
            if self._entries.get(model_id) is not entry:
                return False
            if model is not None:
                self._loaded[model_id] = model
            if card is not None:
                self._cards[model_id] = card
            del self._loads[model_id]
        load.set_result(model)
        return True

    def _load_or_fail(self, model_id: str, entry: ModelEntry) -> tuple[LoadedModel | None, ModelCard]:
        try:
            model = self._load_now(model_id, entry)
        except (Exception, SystemExit) as cause:  # because a model is foreign code: whatever it raises is its failure
            is_refused = isinstance(cause, ValueError)  # a loader says what is wrong; anything else is traced
            logger.log(logging.ERROR, "model %s does not load: %s", model_id, _message(cause), exc_info=not is_refused)
            return None, ModelCard(id=model_id, state="failed", reason=_message(cause))
        logger.info("model %s is ready, %d images at once", model_id, model.batch)
        return model, _card(model, entry)

    def _load_now(self, model_id: str, entry: ModelEntry) -> LoadedModel:
        """Load a model, after evicting others while memory is short."""
        while self._free(self._device) < _MIN_FREE_SHARE and self._evict_lru():
            pass
        while True:
            try:
                black_box = load_model(entry, folder=self._path.resolve().parent, device=self._device)
                batch = entry.limits.batch or autotune_batch_size(black_box)
                digest = digest_of(entry, black_box)
                return LoadedModel(model_id, black_box, digest, batch, _default_fill(entry, black_box))
            except torch.OutOfMemoryError:
                if not self._evict_lru():
                    raise

    def _evict_lru(self) -> bool:
        """Evict the least recently used model, replaced versions first; return False where there is none."""
        with self._lock:
            versions = self._replaced or self._loaded
            key = next(iter(versions), None)
            if key is None:
                return False
            model = versions.pop(key)
        logger.info("memory is short: model %s is unloaded until it is requested again", model.id)
        del model
        _empty_cache()
        return True

    def _evict(self, model_id: str) -> None:
        with self._lock:
            self._loaded.pop(model_id, None)
        _empty_cache()


def _empty_cache() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _message(error: BaseException) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:  # because its class is foreign code, too
        return type(error).__name__


def _default_fill(entry: ModelEntry, black_box: BlackBox) -> str:
    """Return what hides where a request does not say: black is a shape of its own to a classifier that never saw it.

    With three such networks a blurred picture keeps more of the score and takes .49, .86 and .39 of the masks; one that
    was trained with masks does not care (bench/EXPERIMENTS.md). Of detectors and segmentation nothing is measured, so
    black stays, as the methods' authors have it.
    """
    return "blur" if isinstance(black_box, Classifier) and not entry.trained_with_masks else "black"


def _is_remote(entry: ModelEntry) -> bool:
    return entry.source.startswith(("http://", "https://"))


def _card(model: LoadedModel, entry: ModelEntry) -> ModelCard:
    return ModelCard(
        id=model.id,
        task=model.task,
        labels=list(model.black_box.labels),
        input_size=model.black_box.preprocessing.size,
        digest=model.digest,
        max_masks=entry.limits.masks,
        batch=model.batch,
        default_fill=model.default_fill,
        assumptions=[*model.black_box.assumptions, _training(entry)],
        state="ready",
    )


def _training(entry: ModelEntry) -> Assumption:
    source: AssumptionSource = "entry" if "trained_with_masks" in entry.model_fields_set else "convention"
    value = "true" if entry.trained_with_masks else "false"
    return Assumption.model_validate({"what": "trained_with_masks", "value": value, "from": source})
