"""One execution of one explanation: from its first missing block to its end, with checkpoints on the way."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from PIL import Image
from rq import Retry

from app.contract.counters import PersistentCounters
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.images import decode
from app.contract.schemas import ExplanationRecord, Progress, State, TargetResult
from app.contract.storage.object_store import BlobStore, image_blob
from workers.execution.block_reuse import reusable_blocks
from workers.execution.checkpoints import CheckpointWriter
from workers.execution.coordinator import ShardCoordinator
from workers.execution.peers import PeerWorkers
from workers.execution.results import finished_targets, progress, provenance, require_any_target, with_scale
from workers.execution.storage_retry import retry_while_storage_down
from workers.explainer.block_computer import BlockComputer
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method
from workers.registry.model_registry import LoadedModel, ModelRegistry
from workers.saliency.estimators import Block
from workers.supervision.current_attempt import ShutdownRequested, model_call

logger = logging.getLogger(__name__)

T = TypeVar("T")

_REPORT_SECONDS = 0.1  # between two reports at first
_REPORT_SHARE = 0.01  # of the time that it has run, later
_LONGEST_REPORT_SECONDS = 1.0  # because a cancelled explanation ends at its next report
_NEWS = 1.01  # times as many blocks: in an hour targets are described 600 times instead of 3,600


@dataclass(frozen=True)
class JobContext:
    """What a job may use; made once by the worker's composition root."""

    store: ExplanationStore
    blobs: BlobStore
    models: ModelRegistry
    statistics: PersistentCounters
    checkpoint_seconds: float
    team: PeerWorkers
    kin: BlockReuseIndex
    outage_seconds: float = 600.0
    stopping: threading.Event = field(default_factory=threading.Event)


class OwnershipLost(Exception):  # noqa: N818 - nothing is wrong
    """The explanation was cancelled, or belongs to another execution by now."""


def requeue_at_front() -> Retry:
    """Return what makes RQ give a job to another worker, before what waits."""
    return Retry(max=1_000_000, enqueue_at_front=True)


def load_and_plan(
    context: JobContext, record: ExplanationRecord, image: Image.Image
) -> tuple[LoadedModel, ExplanationPlan]:
    """Return the model of an explanation, and what is fixed before its first block.

    Args:
        context: what a job may use.
        record: the explanation.
        image: upright, RGB.

    Raises:
        RiseError: what the model, the targets or the parameters make impossible.
    """
    request = record.request
    model = context.models.get(request.model.id, request.model.digest)
    plugin = method(request.method)
    parameters = plugin.Parameters.model_validate(request.parameters)
    with model_call(model.id):
        return model, build_plan(model.black_box, image, plugin, parameters, request.targets, batch=model.batch)


def execute(context: JobContext, record: ExplanationRecord, execution: str) -> Retry | None:
    """Run one execution of an explanation; return what hands its job back where it has not come to the end.

    Raises:
        Superseded: if the explanation is cancelled or belongs to another execution by now.
        Stopped: if the worker is stopping, and nothing has been evaluated yet.
        RiseError: what makes the explanation impossible.
        FileNotFoundError: if the image, or a part of the effects, is not in the storage any more.
    """
    began = time.monotonic()
    model, study = load_and_plan(context, record, _load_image(context, record, execution))
    return ExplanationRun(context, record, execution, model, study, began=began).to_the_end()


def _load_image(context: JobContext, record: ExplanationRecord, execution: str) -> Image.Image:
    """Return the image of an explanation, upright, RGB; wait for a storage that is away."""
    pause = partial(_pause, context, record, execution)
    content = retry_while_storage_down(
        lambda: context.blobs.get(image_blob(record.id)), seconds=context.outage_seconds, pause=pause
    )
    return decode(content)


def _pause(context: JobContext, record: ExplanationRecord, execution: str, seconds: float) -> None:
    """Wait, as long as the explanation belongs to an execution and the worker is not stopping."""
    if context.stopping.wait(seconds):
        raise ShutdownRequested
    if not context.store.is_running(record.id, execution):
        raise OwnershipLost


class ExplanationRun:
    """One execution of one explanation, from its plan on.

    Args:
        context: what a job may use.
        record: the explanation.
        execution: name of this execution.
        model: that is explained.
        study: the plan.
        began: when the execution began, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        context: JobContext,
        record: ExplanationRecord,
        execution: str,
        model: LoadedModel,
        study: ExplanationPlan,
        *,
        began: float,
    ) -> None:
        self._began = began
        self._context = context
        self._record = record
        self._execution = execution
        self._model = model
        self._study = study
        self._resumed_blocks = 0
        # Not a method of this object, which would keep it and all its tensors until Python looks for circles.
        halved = partial(context.statistics.count_memory_retry, model.id)
        self._calculator = BlockComputer(study, model.id, when_halved=halved)
        resumable = record.state is not None and record.state.kind == "effects"
        self._recorder = CheckpointWriter(
            context.blobs,
            record.id,
            execution,
            record.state if resumable and record.state else study.state(),
            checkpoint_seconds=context.checkpoint_seconds,
        )
        self._convergence = Convergence(study)
        self._started = time.monotonic()
        self._reported = -float("inf")
        self._described_blocks = 0

    def to_the_end(self) -> Retry | None:
        """Take blocks until the map is reliable or there are no more."""
        self._resume()
        leader = self._leader()
        blocks = leader.blocks()
        try:
            while not self._has_enough():
                self._take(next(blocks))
        except ShutdownRequested:
            return self._hand_back()
        self._publish(leader.assistants)
        leader.close()
        return None

    def _leader(self) -> ShardCoordinator:
        return ShardCoordinator(
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
        left = reusable_blocks(context.kin, context.store, context.blobs, self._record, self._calculator, targets)
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
        if self._is_checkpoint_due() or now - self._reported >= _report_seconds(now - self._started):
            self._report()
            self._reported = now

    def _report(self) -> None:
        self._advance(self._checkpoint_if_possible() if self._is_checkpoint_due() else None)

    def _advance(self, state: State | None = None) -> None:
        """Report progress, and a checkpoint where there is one; targets too, where much more is known of them."""
        blocks = self._convergence.blocks
        is_news = blocks >= _NEWS * self._described_blocks
        targets = self._targets() if state and is_news else None
        going_on = self._context.store.advance(
            self._record.id, self._execution, progress=self._progress(), targets=targets, state=state
        )
        if not going_on:
            raise OwnershipLost
        if targets is not None:
            self._described_blocks = blocks
        if state is not None:
            self._recorder.stored()

    def _hand_back(self) -> Retry:
        with suppress(OwnershipLost):
            self._advance(self._checkpoint_if_possible())
        return requeue_at_front()

    def _publish(self, assistants: set[str]) -> None:
        study, convergence = self._study, self._convergence
        state, targets = self._outlast(self._last_checkpoint), self._targets()
        require_any_target(targets)
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
            raise OwnershipLost
        self._recorder.stored(is_last=True)

    def _is_checkpoint_due(self) -> bool:
        return self._convergence.blocks > 0 and self._recorder.due

    def _last_checkpoint(self) -> State:
        return with_scale(self._recorder.last_checkpoint(), self._study, self._convergence)

    def _checkpoint_if_possible(self) -> State | None:
        state = self._recorder.checkpoint_if_possible() if self._convergence.blocks else None
        return with_scale(state, self._study, self._convergence) if state else None

    def _outlast(self, attempt: Callable[[], T]) -> T:
        return retry_while_storage_down(attempt, seconds=self._context.outage_seconds, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        """Wait for a storage that is away; say meanwhile how far it is, so that it does not expire either."""
        _pause(self._context, self._record, self._execution, seconds)
        if self._convergence.blocks > 0:  # else what was known of an earlier execution would be forgotten
            self._advance()

    def _progress(self) -> Progress:
        new_blocks = self._convergence.blocks - self._resumed_blocks
        rate = new_blocks * self._study.block_size / max(time.monotonic() - self._started, 1e-6)
        return progress(self._study, self._convergence, masks_per_second=rate)

    def _targets(self) -> list[TargetResult]:
        return finished_targets(self._study, self._convergence)


def _report_seconds(elapsed: float) -> float:
    """Return how long no progress need be reported: each report adds 1 KB to Redis' log."""
    return min(max(_REPORT_SECONDS, _REPORT_SHARE * elapsed), _LONGEST_REPORT_SECONDS)
