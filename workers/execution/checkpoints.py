"""Writes the effects of one execution to the store block by block, and reads those of earlier executions.

A checkpoint is an object of its own that carries the execution's name, then an entry in the explanation's state that is
accepted only while the execution owns the explanation. A late writer therefore changes nothing.

Checkpoints are merged as in a log-structured merge tree (O'Neil et al., Acta Informatica 1996): eight of a rank become
one of the next, so n of them are at most 7 log8(n) + 1 objects, 28 after an hour of one a second, and each block is
written again log8(n) times. An object that has been merged is deleted when the state that no longer refers to it has
been stored and one more after it, because a reader may have just read the one before.
"""

import logging
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.saliency.running_moments import RunningMoments
from app.contract.schemas import Checkpoint, State
from app.contract.storage.object_store import BlobStore, effects_blob
from workers.explainer.stored_blocks import concatenated, pack
from workers.saliency.estimators import Block

logger = logging.getLogger(__name__)

_MAX_PAUSE_SECONDS = 30.0
_FAN_IN = 8
_FEW = 4  # objects that are read concurrently: a short explanation does not end with another write
_MERGED_BYTES = 16_000_000  # at most, because readers hold several objects in memory
_FULL = 99  # rank of what is not merged any more


class CheckpointWriter:
    """Collects blocks and writes them as checkpoints.

    Args:
        blobs: the object store.
        explanation_id: whose blocks.
        execution: name of the execution.
        state: what is stored already, or the empty state.
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
        self._ranks = [0] * len(state.checkpoints)
        self._replaced: list[str] = []
        self._deletable: list[str] = []
        self._most_blocks = 1
        self.state = state

    def earlier_effects(self) -> Iterator[NDArray[np.float32]]:
        """Yield the array of each block that is stored already (`stored_blocks.py`), in order."""
        for array in self._blobs.get_arrays([checkpoint.blob for checkpoint in self.state.checkpoints]):
            self._most_blocks = max(1, _MERGED_BYTES * len(array) // array.nbytes)
            yield from array

    def add(self, block: Block) -> None:
        """Add one more block."""
        if self.state.kind == "moments":
            self._sums.add(block.effects)
        self._pending.append(block)

    @property
    def due(self) -> bool:
        """Whether there are blocks to write, and it is time."""
        return bool(self._pending) and time.monotonic() >= self._due_at

    def checkpoint(self) -> State:
        """Write the pending blocks and return the state that refers to them, to be stored by the caller."""
        if not self._pending:
            return self.state
        self._append()
        self._pending = []
        self._failures = 0
        self._due_at = time.monotonic() + self._checkpoint_seconds
        while self._newest_of_a_rank() >= _FAN_IN and self._merge(self._newest_of_a_rank()):
            pass
        return self.state

    def last_checkpoint(self) -> State:
        """Write the pending blocks, and merge what can be merged; return the state as `checkpoint` does."""
        self.checkpoint()
        if len(self.state.checkpoints) > _FEW:
            self._merge(len(self.state.checkpoints))
        return self.state

    def stored(self, *, is_last: bool = False) -> None:
        """Delete the objects to which neither the state just stored nor the one before refers.

        Args:
            is_last: whether no other state will follow.
        """
        deletable = self._deletable + (self._replaced if is_last else [])
        self._deletable, self._replaced = [] if is_last else self._replaced, []
        try:
            if deletable:
                self._blobs.delete(deletable)
        except StorageError:
            logger.warning("merged checkpoints of explanation %s are deleted when it expires", self._explanation_id)

    def try_checkpoint(self) -> State | None:
        """Write a checkpoint as `checkpoint` does; return None where the storage is down.

        Pending blocks are kept for the next one, which is due after a growing pause.
        """
        try:
            return self.checkpoint()
        except StorageError as error:
            logger.warning("explanation %s goes on without a checkpoint: %s", self._explanation_id, error.detail)
            self._failures += 1
            pause = max(self._checkpoint_seconds, 1.0) * 2.0**self._failures
            self._due_at = time.monotonic() + min(pause, _MAX_PAUSE_SECONDS)
            return None

    def _append(self) -> None:
        """Write an object with the pending blocks; moments are written whole, and replace the earlier ones."""
        array, first, count = self._pending_array()
        name = effects_blob(self._explanation_id, self._execution, first, count)
        self._blobs.put_array(name, array)
        self._most_blocks = max(1, _MERGED_BYTES * count // array.nbytes)
        kept = len(self.state.checkpoints) if self.state.kind == "effects" else 0
        self._replace(kept, [Checkpoint(blob=name, first=first, count=count)], [0])

    def _replace(self, kept: int, checkpoints: Sequence[Checkpoint], ranks: Sequence[int]) -> None:
        """Refer to other objects after the first ones."""
        named = {checkpoint.blob for checkpoint in checkpoints}
        earlier = self.state.checkpoints
        self._replaced += [checkpoint.blob for checkpoint in earlier[kept:] if checkpoint.blob not in named]
        self.state = self.state.model_copy(update={"checkpoints": [*earlier[:kept], *checkpoints]})
        self._ranks = [*self._ranks[:kept], *ranks]

    def _newest_of_a_rank(self) -> int:
        """Return how many of the newest checkpoints have the same rank."""
        return next((n for n, rank in enumerate(reversed(self._ranks)) if rank != self._ranks[-1]), len(self._ranks))

    def _merge(self, number: int) -> bool:
        """Merge so many of the newest checkpoints into as few objects as possible; return whether that succeeded."""
        kept = len(self.state.checkpoints) - number
        groups = _groups(self.state.checkpoints[kept:], self._most_blocks)
        try:
            merged = [self._merged(group) for group in groups]
        except (StorageError, BlobNotFoundError) as error:  # because the unmerged objects are complete
            logger.warning("checkpoints of explanation %s are not merged: %s", self._explanation_id, error.detail)
            return False
        rank = self._ranks[kept] + 1 if len(groups[-1]) > 1 else self._ranks[-1]
        self._replace(kept, merged, [_FULL] * (len(groups) - 1) + [rank])
        return True

    def _merged(self, group: Sequence[Checkpoint]) -> Checkpoint:
        """Write an object with the blocks of a group, unless it is one already."""
        if len(group) == 1:
            return group[0]
        first, count = group[0].first, sum(checkpoint.count for checkpoint in group)
        name = effects_blob(self._explanation_id, self._execution, first, count)
        self._blobs.put_array(
            name, concatenated(list(self._blobs.get_arrays([checkpoint.blob for checkpoint in group])))
        )
        return Checkpoint(blob=name, first=first, count=count)

    def _pending_array(self) -> tuple[NDArray[np.float32], int, int]:
        if self.state.kind == "effects":
            packed = np.stack([pack(block, self.state.target_rows) for block in self._pending])
            return packed, self._pending[0].index, len(self._pending)
        assert self._sums.mean is not None
        assert self._sums.deviation is not None
        return np.stack([self._sums.mean, self._sums.deviation]).astype(np.float32), 0, self._sums.count


def _groups(checkpoints: Sequence[Checkpoint], most_blocks: int) -> list[list[Checkpoint]]:
    """Return consecutive checkpoints in groups that together have no more than so many blocks, where each has fewer."""
    groups: list[list[Checkpoint]] = [[]]
    for checkpoint in checkpoints:
        if groups[-1] and sum(one.count for one in groups[-1]) + checkpoint.count > most_blocks:
            groups.append([])
        groups[-1].append(checkpoint)
    return groups
