"""One execution of one audit: the blocks of its views, a checkpoint after each, then the probes and the result.

The views are few and their blocks small, so each block is an object and a checkpoint of its own. The blocks of the own
fill are those of the explanation, where they are stored; nothing waits for them.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.contract.audits import GRAD_CAM_VIEW, audited_id
from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.schemas import AuditResult, Checkpoint, ExplanationRecord, MaskedView, Progress, State
from app.contract.storage.object_store import effects_blob
from workers.audit.conclusion import conclude
from workers.audit.plan import AuditPlan, audit_plan
from workers.audit.white_box import GradCam, grad_cam_of
from workers.execution.run import (
    JobContext,
    are_same,
    load_and_plan,
    load_image,
    pause_while_owned,
    retry_while_storage_down,
)
from workers.explainer.block_computer import BlockComputer
from workers.registry.model_registry import LoadedModel
from workers.saliency.estimators import Block
from workers.supervision.current_attempt import OwnershipLost, model_call

logger = logging.getLogger(__name__)

T = TypeVar("T")


def execute_audit(context: JobContext, record: ExplanationRecord, execution: str) -> None:
    """Run one execution of an audit.

    Raises:
        OwnershipLost: if the audit is cancelled or belongs to another execution by now.
        ShutdownRequested: if the worker is to stop; every block so far is stored.
        RiseError: what makes the audit impossible.
    """
    image = load_image(context, record, execution)
    model, plan = load_and_plan(context, record, image)
    with model_call(model.id):
        audit = audit_plan(plan, model.black_box, image)
    AuditRun(context, record, execution, model, audit).run()


class AuditRun:
    """One execution of one audit, from its plan on.

    Args:
        context: what a job may use.
        record: of the audit.
        execution: name of this execution.
        model: that is audited.
        plan: of the audit.
    """

    def __init__(
        self, context: JobContext, record: ExplanationRecord, execution: str, model: LoadedModel, plan: AuditPlan
    ) -> None:
        self._context = context
        self._record = record
        self._execution = execution
        self._model = model
        self._plan = plan
        self._views = {view.name: view for view in record.views if _belongs_to(plan, view)}
        self._explanation = context.store.read(audited_id(record.id) or "")
        self._started = time.monotonic()
        self._evaluated = 0
        self._passes = 0
        self._total = 0

    def run(self) -> None:
        """Compute what is missing and conclude."""
        is_new = not self._views
        if is_new:
            self._reuse_own_blocks()
        self._count_passes(is_new=is_new)
        self._report()
        blocks = {view: list(self._blocks(view)) for view in self._plan.views}
        with model_call(self._model.id):
            grad_cam = grad_cam_of(self._plan)
        self._store_grad_cam(grad_cam)
        result = self._concluded(blocks, grad_cam)
        self._publish(result, is_new=is_new)

    def _reuse_own_blocks(self) -> None:
        """Begin the own fill's view, with copies of the explanation's first blocks where all of them are there."""
        name, number = self._plan.own, self._plan.blocks_of(self._plan.own)
        self._views[name] = self._empty(name)
        arrays = self._explained_blocks(number)
        if len(arrays) == number:
            self._store(name, np.stack(arrays), first=0)

    def _empty(self, name: str) -> MaskedView:
        view = self._plan.views[name]
        return MaskedView(name=name, parameters=view.parameters.model_dump(mode="json"), state=view.state())

    def _explained_blocks(self, number: int) -> list[NDArray[np.float32]]:
        other = self._explanation
        if other is None or other.state is None or not self._plan.explanation.continues(other.state):
            return []
        if not are_same(other.targets, self._plan.explanation.resolved.targets):
            return []
        names = [checkpoint.blob for checkpoint in other.state.checkpoints if checkpoint.first < number]
        try:
            return list(islice(chain.from_iterable(self._context.blobs.get_arrays(names)), number))
        except (BlobNotFoundError, StorageError) as error:  # because a running explanation merges its checkpoints
            logger.info("audit %s computes the blocks of explanation %s: %s", self._record.id, other.id, error)
            return []

    def _count_passes(self, *, is_new: bool) -> None:
        """Set how many passes there are at most, which the first execution found, and how many have been made."""
        missing = self._plan.passes({name: view.state.blocks for name, view in self._views.items()})
        first_total = None if is_new or self._record.progress is None else self._record.progress.total
        self._total = first_total or missing
        self._passes = self._total - missing

    def _blocks(self, name: str) -> Iterator[Block]:
        """Yield the blocks of a view: those that are stored, then others, of which each is stored."""
        view = self._plan.views[name]
        when_halved = partial(self._context.statistics.count_memory_retry, self._model.id)
        computer = BlockComputer(view, self._model.id, when_halved=when_halved)
        unknown = [0.0] * len(view.resolved.targets)
        state = self._views.setdefault(name, self._empty(name)).state
        stored = [checkpoint.blob for checkpoint in state.checkpoints]
        arrays = self._retry_while_storage_down(lambda: list(self._context.blobs.get_arrays(stored)))
        for number, array in enumerate(chain.from_iterable(arrays)):
            yield computer.from_stored(number, array, unknown)
        for number in range(state.blocks, self._plan.blocks_of(name)):
            block = computer.block(number)
            self._store(name, computer.packed(block)[None], first=number)
            self._advance(view.block_size)
            yield block

    def _store_grad_cam(self, found: GradCam) -> None:
        """Write Grad-CAM as the published estimator's maps are stored, of one block, which has no spread."""
        if found.maps is None:
            return
        moments = np.stack([found.maps, np.zeros_like(found.maps)])[:, :, None]  # [2, T, 1, h, w]
        blob = effects_blob(self._record.id, f"{self._execution}-{GRAD_CAM_VIEW}", 0, 1)
        self._retry_while_storage_down(lambda: self._context.blobs.put_array(blob, moments))
        own = self._plan.explanation.state()
        rows, columns = found.maps.shape[1:]
        state = State(
            kind="moments",
            canvas=own.canvas.model_copy(update={"height": rows, "width": columns, "grid": (rows, columns)}),
            seed=0,
            rows=[own.rows[row] for row in own.target_rows],
            target_rows=list(range(len(own.target_rows))),
            fills=["none"],
            checkpoints=[Checkpoint(blob=blob, first=0, count=1)],
        )
        self._views[GRAD_CAM_VIEW] = MaskedView(name=GRAD_CAM_VIEW, parameters={}, state=state)

    def _store(self, name: str, array: NDArray[np.float32], *, first: int) -> None:
        """Write blocks of a view as one object, to which its state refers from then on."""
        place = list(self._plan.views).index(name)
        blob = effects_blob(self._record.id, f"{self._execution}-{place}", first, len(array))
        self._retry_while_storage_down(lambda: self._context.blobs.put_array(blob, array))
        view, checkpoint = self._views[name], Checkpoint(blob=blob, first=first, count=len(array))
        state = view.state.model_copy(update={"checkpoints": [*view.state.checkpoints, checkpoint]})
        self._views[name] = view.model_copy(update={"state": state})

    def _concluded(self, blocks: dict[str, list[Block]], grad_cam: GradCam) -> AuditResult:
        before = self._passes
        consistency = self._explanation.consistency if self._explanation else None

        def count(asked: int) -> None:
            self._advance(before + asked - self._passes)

        with model_call(self._model.id):
            result = conclude(self._plan, blocks, grad_cam, earlier_consistency=consistency, asked=count)
        return result.model_copy(update={"passes": before + result.passes})

    def _advance(self, passes: int) -> None:
        self._evaluated += passes
        self._passes += passes
        self._report()

    def _report(self) -> None:
        """Store how far it is.

        Raises:
            OwnershipLost: if the audit is cancelled or belongs to another execution by now.
        """
        owned = self._context.store.advance(
            self._record.id,
            self._execution,
            progress=self._progress(),
            targets=self._plan.explanation.resolved.targets,
            views=list(self._views.values()),
        )
        if not owned:
            raise OwnershipLost

    def _progress(self) -> Progress:
        rate = self._evaluated / max(time.monotonic() - self._started, 1e-6)
        return Progress(
            masks=self._passes,
            total=self._total,
            masks_per_second=round(rate, 1),
            eta_seconds=round((self._total - self._passes) / rate, 1) if rate > 0 else None,
        )

    def _publish(self, result: AuditResult, *, is_new: bool) -> None:
        seconds = time.monotonic() - self._started if is_new else None
        progress = self._progress().model_copy(update={"eta_seconds": None})
        owned = self._context.store.conclude_audit(
            self._record, self._execution, progress=progress, audit=result, seconds=seconds
        )
        if not owned:
            raise OwnershipLost

    def _retry_while_storage_down(self, operation: Callable[[], T]) -> T:
        pause = partial(pause_while_owned, self._context, self._record, self._execution)
        return retry_while_storage_down(operation, seconds=self._context.outage_seconds, pause=pause)


def _belongs_to(plan: AuditPlan, view: MaskedView) -> bool:
    """Return whether a stored view is one of an audit's, of the same cells."""
    return view.name in plan.views and plan.views[view.name].continues(view.state)
