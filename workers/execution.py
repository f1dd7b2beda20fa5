"""One execution of one explanation: from its first missing block to its end, with checkpoints on the way."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from rq import Retry
from rq.timeouts import JobTimeoutException

from app.contract.blobs import Blobs, image_blob
from app.contract.errors import RiseError
from app.contract.images import decode
from app.contract.pace import Pace
from app.contract.schemas import Progress, Record, State, TargetResult
from app.contract.statistics import Statistics
from app.contract.store import Store
from workers.attempt import asking, broken_device
from workers.blackbox import BlackBoxError
from workers.breakage import breaks_device
from workers.collection import Collection
from workers.convergence import Convergence
from workers.methods import method
from workers.outage import outlast
from workers.outcome import finished_targets, progress, provenance, refuse_empty, scaled
from workers.recorder import Recorder
from workers.saliency.loop import Block
from workers.study import prepare

logger = logging.getLogger(__name__)

T = TypeVar("T")

_REPORT_SECONDS = 0.1


@dataclass(frozen=True)
class Context:
    """What a job may use; made once by the worker's composition root."""

    store: Store
    blobs: Blobs
    models: Collection
    statistics: Statistics
    checkpoint_seconds: float
    pace: Pace
    outage_seconds: float = 600.0
    stopping: threading.Event = field(default_factory=threading.Event)


class Superseded(Exception):  # noqa: N818 - nothing is wrong
    """The explanation was cancelled, or belongs to another execution by now."""


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """The worker is stopping while it waits; the explanation goes on from its last checkpoint, elsewhere."""


def hand_back() -> Retry:
    """Return what makes RQ give a job to another worker, before what waits."""
    return Retry(max=1_000_000, enqueue_at_front=True)


@contextmanager
def blaming(model_id: str) -> Iterator[None]:
    """Turn whatever a model raises into a failure that names it: a model is somebody else's code."""
    try:
        with asking(model_id):
            yield
    except RiseError:
        raise
    except JobTimeoutException as cause:
        raise RiseError("timed-out", f"its time was up while model {model_id!r} was asked: {cause}") from cause
    except BlackBoxError as cause:
        raise RiseError("model-failed", f"model {model_id!r} failed: {cause}") from cause
    except torch.OutOfMemoryError as cause:
        raise RiseError("out-of-memory", f"model {model_id!r} does not fit into the device's memory") from cause
    except Exception as cause:
        logger.exception("model %s failed", model_id)
        if breaks_device(cause):
            raise broken_device(model_id, cause) from cause
        raise RiseError("model-failed", f"model {model_id!r} raised {type(cause).__name__}: {cause}") from cause


class Execution:
    """One execution of one explanation."""

    def __init__(self, context: Context, record: Record, execution: str) -> None:
        self._began = time.monotonic()
        self._context = context
        self._record = record
        self._execution = execution
        self._resumed_blocks = 0
        self._model = context.models.get(record.request.model.id, record.request.model.digest)
        request = record.request
        plugin = method(request.method)
        parameters = plugin.Parameters.model_validate(request.parameters)
        image = decode(self._outlast(lambda: context.blobs.get(image_blob(record.id))))
        with blaming(self._model.id):
            self._study = prepare(
                self._model.black_box, image, plugin, parameters, request.targets, batch=self._model.batch
            )
        resumable = record.state is not None and record.state.kind == "effects"
        self._recorder = Recorder(
            context.blobs,
            record.id,
            execution,
            record.state if resumable and record.state else self._study.state(),
            checkpoint_seconds=context.checkpoint_seconds,
        )
        self._convergence = Convergence(self._study)
        self._started = time.monotonic()
        self._reported = -float("inf")

    def to_the_end(self) -> Retry | None:
        """Take blocks until the map is reliable or there are no more."""
        self._resume()
        blocks = self._study.run(first=self._convergence.blocks, when_halved=self._count_memory_retry)
        while not self._convergence.reached():
            with blaming(self._model.id):
                block = next(blocks, None)
            if block is None:
                break
            self._take(block)
            if self._context.stopping.is_set():
                return self._hand_back()
        self._publish()
        return None

    def _count_memory_retry(self) -> None:
        self._context.statistics.count_memory_retry(self._model.id)

    def _resume(self) -> None:
        matched = np.array([target.matched or 0.0 for target in self._record.targets])
        for index, effects in enumerate(self._outlast(lambda: list(self._recorder.earlier_effects()))):
            rows = np.zeros(len(effects), dtype=np.float32)
            rows[self._study.aim.target_rows] = matched
            self._convergence.add(Block(index, self._study.block_size, effects, rows))
        self._resumed_blocks = self._convergence.blocks

    def _take(self, block: Block) -> None:
        if not np.isfinite(block.effects).all():
            raise RiseError("model-failed", f"model {self._model.id!r} gave scores that are not finite numbers")
        self._convergence.add(block)
        self._recorder.add(block)
        now = time.monotonic()
        if self._recorder.due or now - self._reported >= _REPORT_SECONDS:
            self._report()
            self._reported = now

    def _report(self) -> None:
        state = self._checkpoint_if_possible() if self._recorder.due else None
        targets = self._targets() if state else None
        going_on = self._context.store.advance(
            self._record.id, self._execution, progress=self._progress(), targets=targets, state=state
        )
        if not going_on:
            raise Superseded

    def _hand_back(self) -> Retry:
        state = self._checkpoint_if_possible()
        targets = self._targets() if state else None
        self._context.store.advance(
            self._record.id, self._execution, progress=self._progress(), targets=targets, state=state
        )
        return hand_back()

    def _publish(self) -> None:
        study, convergence = self._study, self._convergence
        state, targets = self._outlast(self._checkpoint), self._targets()
        refuse_empty(targets)
        published = self._context.store.succeed(
            self._record.id,
            self._execution,
            progress=self._progress(),
            targets=targets,
            state=state,
            provenance=provenance(self._model.black_box, study, convergence),
        )
        if not published:
            raise Superseded
        if self._resumed_blocks == 0:  # because of a resumed one this worker knows only the rest
            masks, seconds = study.blocks * study.block_size, time.monotonic() - self._began
            self._context.pace.record(self._record.request, masks=masks, seconds=seconds)

    def _checkpoint(self) -> State:
        return scaled(self._recorder.checkpoint(), self._study, self._convergence)

    def _checkpoint_if_possible(self) -> State | None:
        state = self._recorder.checkpoint_if_possible()
        return scaled(state, self._study, self._convergence) if state else None

    def _outlast(self, attempt: Callable[[], T]) -> T:
        return outlast(attempt, seconds=self._context.outage_seconds, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        if self._context.stopping.wait(seconds):
            raise Stopped
        if not self._context.store.is_running(self._record.id, self._execution):
            raise Superseded

    def _progress(self) -> Progress:
        new_blocks = self._convergence.blocks - self._resumed_blocks
        rate = new_blocks * self._study.block_size / max(time.monotonic() - self._started, 1e-6)
        return progress(self._study, self._convergence, masks_per_second=rate)

    def _targets(self) -> list[TargetResult]:
        return finished_targets(self._study, self._convergence)
