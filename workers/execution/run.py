"""One execution of one explanation: from its first missing block to its end, with checkpoints on the way."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TypeVar

from PIL import Image
from rq import Retry

from app.contract.counters import PersistentCounters
from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.images.decoding import decode
from app.contract.schemas import ExplanationRecord, Progress, State, TargetResult
from app.contract.storage.object_store import BlobStore, image_blob
from workers.evidence.gathering import GatheredEvidence, earlier_evidence, gather
from workers.execution.checkpoints import CheckpointWriter
from workers.execution.coordinator import ShardCoordinator
from workers.execution.results import finished_targets, progress, provenance, require_any_target, with_scale
from workers.execution.shards import PeerWorkers
from workers.explainer.block_computer import BlockComputer
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method
from workers.registry.model_registry import LoadedModel, ModelRegistry
from workers.saliency.estimators import Block
from workers.supervision.current_attempt import OwnershipLost, ShutdownRequested, model_call

logger = logging.getLogger(__name__)

T = TypeVar("T")

_REPORT_SECONDS = 0.1  # between two reports at first
_REPORT_SHARE = 0.01  # of the time since the start, later
_MAX_REPORT_SECONDS = 1.0  # because a cancelled explanation ends at its next report
_DESCRIBE_FACTOR = 1.01  # more blocks: in an hour targets are described 600 times instead of 3,600
_FIRST_PAUSE_SECONDS = 0.1  # between attempts at a storage that is down
_MAX_PAUSE_SECONDS = 5.0
_SAME_PIXELS = 1.0  # because models on other devices differ in the last digits


@dataclass(frozen=True)
class JobContext:
    """What a job may use; built once by the worker's composition root."""

    store: ExplanationStore
    blobs: BlobStore
    models: ModelRegistry
    statistics: PersistentCounters
    checkpoint_seconds: float
    peers: PeerWorkers
    reuse_index: BlockReuseIndex
    outage_seconds: float = 600.0
    stopping: threading.Event = field(default_factory=threading.Event)


def requeue_at_front() -> Retry:
    """Return what makes RQ requeue a job before the others."""
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
    """Run one execution of an explanation; return what requeues its job where it has not come to the end.

    Raises:
        OwnershipLost: if the explanation is cancelled or belongs to another execution by now.
        ShutdownRequested: if the worker is to stop, and nothing has been evaluated yet.
        RiseError: what makes the explanation impossible.
        BlobNotFoundError: if the image, or a part of the effects, is not in the storage any more.
    """
    began = time.monotonic()
    model, plan = load_and_plan(context, record, load_image(context, record, execution))
    return ExplanationRun(context, record, execution, model, plan, began=began).run()


def load_image(context: JobContext, record: ExplanationRecord, execution: str) -> Image.Image:
    """Return the image of an explanation, upright, RGB; wait while the storage is down."""
    pause = partial(pause_while_owned, context, record, execution)
    content = retry_while_storage_down(
        lambda: context.blobs.get(image_blob(record.id)), seconds=context.outage_seconds, pause=pause
    )
    return decode(content)


def pause_while_owned(context: JobContext, record: ExplanationRecord, execution: str, seconds: float) -> None:
    """Wait, as long as the explanation belongs to an execution and the worker is not to stop."""
    if context.stopping.wait(seconds):
        raise ShutdownRequested
    if not context.store.is_running(record.id, execution):
        raise OwnershipLost


def retry_while_storage_down(operation: Callable[[], T], *, seconds: float, pause: Callable[[float], None]) -> T:
    """Return the result of an operation, retried with growing pauses while the object store is down or full.

    Args:
        operation: what needs the object store.
        seconds: for how long it is retried.
        pause: waits for so many seconds, or raises to end the retries.

    Raises:
        StorageError: the last one, when the time is up.
    """
    deadline, next_pause = time.monotonic() + seconds, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return operation()
        except StorageError as error:
            if time.monotonic() + next_pause > deadline:
                raise
            logger.warning("waiting for the storage: %s", error.detail)
        pause(next_pause)
        next_pause = min(2 * next_pause, _MAX_PAUSE_SECONDS)


class ExplanationRun:
    """One execution of one explanation, from its plan on.

    Args:
        context: what a job may use.
        record: the explanation.
        execution: name of this execution.
        model: that is explained.
        plan: of the explanation.
        began: when the execution began, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        context: JobContext,
        record: ExplanationRecord,
        execution: str,
        model: LoadedModel,
        plan: ExplanationPlan,
        *,
        began: float,
    ) -> None:
        self._began = began
        self._context = context
        self._record = record
        self._execution = execution
        self._model = model
        self._plan = plan
        self._resumed_blocks = 0
        self._reused: ExplanationRecord | None = None
        # Not a method of this object, because a reference cycle would keep its tensors until the next collection.
        halved = partial(context.statistics.count_memory_retry, model.id)
        self._computer = BlockComputer(plan, model.id, when_halved=halved)
        self._writer = CheckpointWriter(
            context.blobs,
            record.id,
            execution,
            record.state if record.state and plan.continues(record.state) else plan.state(),
            checkpoint_seconds=context.checkpoint_seconds,
        )
        self._convergence = Convergence(plan)
        self._started = time.monotonic()
        self._reported_at = -float("inf")
        self._described_blocks = 0

    def run(self) -> Retry | None:
        """Add blocks until the map is reliable or there are no more; return what requeues the job at a shutdown."""
        self._resume()
        coordinator = self._coordinator()
        blocks = coordinator.blocks()
        try:
            while not self._is_complete():
                self._add(next(blocks))
            targets = self._targets()
            require_any_target(targets)
            evidence = self._evidence()
        except ShutdownRequested:
            return self._hand_back()
        self._publish(targets, evidence, coordinator.helpers)
        coordinator.close()
        return None

    def _coordinator(self) -> ShardCoordinator:
        return ShardCoordinator(
            self._computer,
            self._context.peers,
            self._context.blobs,
            self._record,
            self._execution,
            first=self._convergence.blocks,
            expected=lambda: self._convergence.estimated_blocks_needed(self._plan.blocks),
        )

    def _resume(self) -> None:
        """Add the stored blocks of an earlier execution, or those of another explanation with the same masks."""
        matched = [target.matched or 0.0 for target in self._record.targets]
        for index, effects in enumerate(self._retry(lambda: list(self._writer.earlier_effects()))):
            self._convergence.add(self._computer.from_stored(index, effects, matched))
        if not self._convergence.blocks and self._writer.state.kind == "effects":
            self._reuse_blocks()
        self._resumed_blocks = self._convergence.blocks

    def _reuse_blocks(self) -> None:
        for blocks in self._reusable_blocks():
            for block in blocks:
                if self._is_complete():
                    break
                self._convergence.add(block)
                self._writer.add(block)
            self._retry(self._writer.checkpoint)

    def _reusable_blocks(self) -> Iterator[list[Block]]:
        """Yield the first blocks, a checkpoint at a time, of a finished explanation that had the same ones.

        The match rate is known per target and not per block: each block gets the mean of all.
        """
        other_id = self._context.reuse_index.find(self._record)
        other = self._context.store.read(other_id) if other_id not in {None, self._record.id} else None
        if other is None or other.state is None or not self._plan.continues(other.state):
            return
        if not are_same(other.targets, self._plan.resolved.targets):
            return
        self._reused = other
        matched, numbers = [target.matched or 0.0 for target in other.targets], count()
        try:
            for array in self._context.blobs.get_arrays([checkpoint.blob for checkpoint in other.state.checkpoints]):
                yield [self._computer.from_stored(next(numbers), effects, matched) for effects in array]
        except (BlobNotFoundError, StorageError) as error:  # because the other may be deleted at any time
            logger.info("explanation %s continues with the blocks read from %s: %s", self._record.id, other.id, error)

    def _is_complete(self) -> bool:
        return self._convergence.reached() or self._convergence.blocks >= self._plan.blocks

    def _add(self, block: Block | None) -> None:
        if block is not None:
            self._convergence.add(block)
            self._writer.add(block)
        now = time.monotonic()
        is_checkpoint_due = self._convergence.blocks > 0 and self._writer.due
        if is_checkpoint_due or now - self._reported_at >= _report_seconds(now - self._started):
            self._report(self._try_checkpoint() if is_checkpoint_due else None)
            self._reported_at = now

    def _report(self, state: State | None = None) -> None:
        """Store progress, and the state where there is a checkpoint; targets too, where many blocks are new."""
        blocks = self._convergence.blocks
        is_new = blocks >= _DESCRIBE_FACTOR * self._described_blocks
        targets = self._targets() if state and is_new else None
        owned = self._context.store.advance(
            self._record.id, self._execution, progress=self._progress(), targets=targets, state=state
        )
        if not owned:
            raise OwnershipLost
        if targets is not None:
            self._described_blocks = blocks
        if state is not None:
            self._writer.stored()

    def _hand_back(self) -> Retry:
        with suppress(OwnershipLost):
            self._report(self._try_checkpoint())
        return requeue_at_front()

    def _evidence(self) -> GatheredEvidence | None:
        """Return the evidence for the map: that of the explanation whose blocks it has, or asked of the model."""
        reused = earlier_evidence(self._plan, self._reused, blocks=self._convergence.blocks) if self._reused else None
        if reused is not None:
            return reused
        if not self._context.store.is_running(self._record.id, self._execution):
            raise OwnershipLost
        with model_call(self._model.id):
            return gather(self._plan, self._convergence)

    def _publish(self, targets: list[TargetResult], evidence: GatheredEvidence | None, helpers: set[str]) -> None:
        plan, convergence = self._plan, self._convergence
        state = self._retry(self._last_checkpoint)
        alone = self._resumed_blocks == 0 and not helpers  # else this worker knows only a part of the time
        published = self._context.store.succeed(
            self._record,
            self._execution,
            progress=self._progress(),
            targets=evidence.added_to(targets) if evidence else targets,
            state=state,
            provenance=provenance(
                self._model.black_box,
                plan,
                convergence,
                workers=1 + len(helpers),
                evidence_passes=evidence.passes if evidence else 0,
            ),
            consistency=evidence.consistency if evidence else None,
            seconds=time.monotonic() - self._began if alone else None,
        )
        if not published:
            raise OwnershipLost
        self._writer.stored(is_last=True)

    def _last_checkpoint(self) -> State:
        return with_scale(self._writer.last_checkpoint(), self._plan, self._convergence)

    def _try_checkpoint(self) -> State | None:
        state = self._writer.try_checkpoint() if self._convergence.blocks else None
        return with_scale(state, self._plan, self._convergence) if state else None

    def _retry(self, operation: Callable[[], T]) -> T:
        return retry_while_storage_down(operation, seconds=self._context.outage_seconds, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        """Wait while the storage is down; report progress meanwhile, so that the explanation does not expire."""
        pause_while_owned(self._context, self._record, self._execution, seconds)
        if self._convergence.blocks > 0:  # else the progress of an earlier execution would be overwritten
            self._report()

    def _progress(self) -> Progress:
        new_blocks = self._convergence.blocks - self._resumed_blocks
        rate = new_blocks * self._plan.block_size / max(time.monotonic() - self._started, 1e-6)
        return progress(self._plan, self._convergence, masks_per_second=rate)

    def _targets(self) -> list[TargetResult]:
        return finished_targets(self._plan, self._convergence)


def are_same(some: list[TargetResult], others: list[TargetResult]) -> bool:
    """Return whether targets are the same, and their blocks therefore too."""
    return len(some) == len(others) and all(map(_is_same, some, others))


def _is_same(one: TargetResult, other: TargetResult) -> bool:
    if one.label != other.label or (one.box is None) != (other.box is None):
        return False
    return all(abs(a - b) < _SAME_PIXELS for a, b in zip(one.box or (), other.box or (), strict=True))


def _report_seconds(elapsed: float) -> float:
    """Return the time between two progress reports, each of which adds 1 KB to Redis' log."""
    return min(max(_REPORT_SECONDS, _REPORT_SHARE * elapsed), _MAX_REPORT_SECONDS)
