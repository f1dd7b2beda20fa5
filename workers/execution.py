"""One execution of one explanation: from its first missing block to its end, with checkpoints on the way."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from PIL import Image
from rq import Retry

from app.contract.blobs import Blobs, image_blob
from app.contract.images import decode
from app.contract.kin import Kin
from app.contract.schemas import Progress, Record, State, TargetResult
from app.contract.statistics import Statistics
from app.contract.store import Store
from workers.attempt import Stopped
from workers.blame import blaming
from workers.calculator import Calculator
from workers.collection import Collection, LoadedModel
from workers.convergence import Convergence
from workers.inheritance import inherited
from workers.leader import Leader
from workers.methods import method
from workers.outage import outlast
from workers.outcome import finished_targets, progress, provenance, refuse_empty, scaled
from workers.recorder import Recorder
from workers.saliency.loop import Block
from workers.study import Study, prepare
from workers.team import Team

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
    team: Team
    kin: Kin
    outage_seconds: float = 600.0
    stopping: threading.Event = field(default_factory=threading.Event)


class Superseded(Exception):  # noqa: N818 - nothing is wrong
    """The explanation was cancelled, or belongs to another execution by now."""


def hand_back() -> Retry:
    """Return what makes RQ give a job to another worker, before what waits."""
    return Retry(max=1_000_000, enqueue_at_front=True)


def prepared(context: Context, record: Record, image: Image.Image) -> tuple[LoadedModel, Study]:
    """Return the model of an explanation, and what is fixed before its first block.

    Raises:
        RiseError: what the model, the targets or the parameters make impossible.
    """
    request = record.request
    model = context.models.get(request.model.id, request.model.digest)
    plugin = method(request.method)
    parameters = plugin.Parameters.model_validate(request.parameters)
    with blaming(model.id):
        return model, prepare(model.black_box, image, plugin, parameters, request.targets, batch=model.batch)


class Execution:
    """One execution of one explanation."""

    def __init__(self, context: Context, record: Record, execution: str) -> None:
        self._began = time.monotonic()
        self._context = context
        self._record = record
        self._execution = execution
        self._resumed_blocks = 0
        image = decode(self._outlast(lambda: context.blobs.get(image_blob(record.id))))
        self._model, self._study = prepared(context, record, image)
        # Not a method of this object, which would keep it and all its tensors until Python looks for circles.
        halved = partial(context.statistics.count_memory_retry, self._model.id)
        self._calculator = Calculator(self._study, self._model.id, when_halved=halved)
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
        leader = self._leader()
        blocks = leader.blocks()
        try:
            while not self._has_enough():
                self._take(next(blocks))
        except Stopped:
            return self._hand_back()
        self._publish(leader.assistants)
        leader.close()
        return None

    def _leader(self) -> Leader:
        return Leader(
            self._calculator,
            self._context.team,
            self._context.blobs,
            self._record,
            self._execution,
            first=self._convergence.blocks,
            expected=lambda: self._convergence.expected(self._study.blocks),
        )

    def _resume(self) -> None:
        """Take in the blocks that are there: of an earlier execution, or of an explanation of the same kin."""
        matched = [target.matched or 0.0 for target in self._record.targets]
        for index, effects in enumerate(self._outlast(lambda: list(self._recorder.earlier_effects()))):
            self._convergence.add(self._calculator.given(index, effects, matched))
        if not self._convergence.blocks and self._recorder.state.kind == "effects":
            self._inherit()
        self._resumed_blocks = self._convergence.blocks

    def _inherit(self) -> None:
        context, targets = self._context, self._study.aim.targets
        left = inherited(context.kin, context.store, context.blobs, self._record, self._calculator, targets)
        for blocks in left:
            for block in blocks:
                if self._has_enough():
                    break
                self._convergence.add(block)
                self._recorder.add(block)
            self._outlast(self._recorder.checkpoint)

    def _has_enough(self) -> bool:
        return self._convergence.reached() or self._convergence.blocks >= self._study.blocks

    def _take(self, block: Block | None) -> None:
        if block is not None:
            self._convergence.add(block)
            self._recorder.add(block)
        now = time.monotonic()
        if self._is_checkpoint_due() or now - self._reported >= _REPORT_SECONDS:
            self._report()
            self._reported = now

    def _report(self) -> None:
        state = self._checkpoint_if_possible() if self._is_checkpoint_due() else None
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

    def _publish(self, assistants: set[str]) -> None:
        study, convergence = self._study, self._convergence
        state, targets = self._outlast(self._checkpoint), self._targets()
        refuse_empty(targets)
        alone = self._resumed_blocks == 0 and not assistants  # else this worker knows only a part of the time
        published = self._context.store.succeed(
            self._record,
            self._execution,
            progress=self._progress(),
            targets=targets,
            state=state,
            provenance=provenance(self._model.black_box, study, convergence, workers=1 + len(assistants)),
            seconds=time.monotonic() - self._began if alone else None,
        )
        if not published:
            raise Superseded

    def _is_checkpoint_due(self) -> bool:
        return self._convergence.blocks > 0 and self._recorder.due

    def _checkpoint(self) -> State:
        return scaled(self._recorder.checkpoint(), self._study, self._convergence)

    def _checkpoint_if_possible(self) -> State | None:
        state = self._recorder.checkpoint_if_possible() if self._convergence.blocks else None
        return scaled(state, self._study, self._convergence) if state else None

    def _outlast(self, attempt: Callable[[], T]) -> T:
        return outlast(attempt, seconds=self._context.outage_seconds, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        """Wait for a storage that is away; say meanwhile how far it is, so that it does not expire either."""
        if self._context.stopping.wait(seconds):
            raise Stopped
        store, mine = self._context.store, (self._record.id, self._execution)
        known = self._convergence.blocks > 0  # else what was known of an earlier execution would be forgotten
        if not (store.advance(*mine, progress=self._progress()) if known else store.is_running(*mine)):
            raise Superseded

    def _progress(self) -> Progress:
        new_blocks = self._convergence.blocks - self._resumed_blocks
        rate = new_blocks * self._study.block_size / max(time.monotonic() - self._started, 1e-6)
        return progress(self._study, self._convergence, masks_per_second=rate)

    def _targets(self) -> list[TargetResult]:
        return finished_targets(self._study, self._convergence)
