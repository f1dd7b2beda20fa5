"""Writes the effects of one execution to the store as they come, and reads what earlier executions left.

A checkpoint is a blob of its own that carries the execution's name, then an entry in the explanation's state that is
accepted only while the execution owns the explanation. A late writer therefore spoils nothing.
"""

import logging
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.contract.errors import StorageError
from app.contract.explanations.store import append_checkpoint
from app.contract.saliency.running_moments import RunningMoments
from app.contract.schemas import Checkpoint, State
from app.contract.storage.object_store import BlobStore, effects_blob
from workers.saliency.estimators import Block

logger = logging.getLogger(__name__)

_LONGEST_PAUSE_SECONDS = 30.0


class CheckpointWriter:
    """Gathers blocks and writes them as checkpoints.

    Args:
        blobs: where to.
        explanation_id: whose.
        execution: by whom.
        state: what is stored already, or where nothing is, the empty state.
        checkpoint_seconds: longest time between two checkpoints.
    """

    def __init__(
        self, blobs: BlobStore, explanation_id: str, execution: str, state: State, *, checkpoint_seconds: float
    ) -> None:
        self._blobs = blobs
        self._explanation_id = explanation_id
        self._execution = execution
        self._checkpoint_seconds = checkpoint_seconds
        self._pending: list[Block] = []
        self._sums = RunningMoments()
        self._due_at = -float("inf")
        self._failures = 0
        self.state = state

    def earlier_effects(self) -> Iterator[NDArray[np.float32]]:
        """Yield the effects of each block that is stored already, `[R, K, h, w]`, in order."""
        for checkpoint in self.state.checkpoints:
            yield from self._blobs.get_array(checkpoint.blob)

    def add(self, block: Block) -> None:
        """Take in one more block."""
        if self.state.kind == "moments":
            self._sums.add(block.effects)
        self._pending.append(block)

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() >= self._due_at

    def checkpoint(self) -> State:
        """Write what has been gathered and return the state that refers to it, to be stored by the caller."""
        if not self._pending:
            return self.state
        array, first, count = self._gathered()
        name = effects_blob(self._explanation_id, self._execution, first)
        self._blobs.put_array(name, array)
        self.state = append_checkpoint(self.state, Checkpoint(blob=name, first=first, count=count))
        self._pending = []
        self._failures = 0
        self._due_at = time.monotonic() + self._checkpoint_seconds
        return self.state

    def checkpoint_if_possible(self) -> State | None:
        """Write a checkpoint as `checkpoint` does; None where the storage is away, and then nothing is lost.

        What was gathered is kept for the next one, which is due after a pause that grows.
        """
        try:
            return self.checkpoint()
        except StorageError as error:
            logger.warning("explanation %s goes on without a checkpoint: %s", self._explanation_id, error.detail)
            self._failures += 1
            pause = max(self._checkpoint_seconds, 1.0) * 2.0**self._failures
            self._due_at = time.monotonic() + min(pause, _LONGEST_PAUSE_SECONDS)
            return None

    def _gathered(self) -> tuple[NDArray[np.float32], int, int]:
        if self.state.kind == "effects":
            effects = np.stack([block.effects for block in self._pending])
            return effects.astype(np.float32), self._pending[0].index, len(self._pending)
        assert self._sums.mean is not None
        assert self._sums.deviation is not None
        return np.stack([self._sums.mean, self._sums.deviation]).astype(np.float32), 0, self._sums.count
