"""The blocks of one explanation in order, computed here and, where that pays, by idle workers too.

The worker that runs an explanation coordinates. It computes blocks one after the other until it estimates that the rest
takes long; then it offers shards (`workers/execution/shards.py`) and asks idle workers for help. It claims shards like
the helpers, and yields all blocks in order. So the caller stops at the same block, with the same map, as if one worker
had computed everything. A shard whose result is late is computed here.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.schemas import ExplanationRecord
from app.contract.storage.object_store import BlobStore
from workers.execution.shards import SHARD_SECONDS, PeerWorkers, ShardResult
from workers.explainer.block_computer import BlockComputer
from workers.saliency.estimators import Block

logger = logging.getLogger(__name__)

_RESULTS_SECONDS = 0.1  # between two reads of results
_REQUEST_SECONDS = 1.0  # between two requests for help
_POLL_SECONDS = 0.01
_STRAGGLER_SLACK_SECONDS = 1.0  # for a shard, beyond twice the time that it takes here


class ShardCoordinator:
    """Yields the blocks of an explanation in order.

    Args:
        computer: computes blocks here.
        peers: the other workers.
        blobs: where they store effects.
        record: the explanation.
        execution: of it, by this worker.
        first: the first block that is missing.
        expected: returns the block before which the explanation probably ends.

    Attributes:
        helpers: names of the workers whose blocks were used.
    """

    def __init__(
        self,
        computer: BlockComputer,
        peers: PeerWorkers,
        blobs: BlobStore,
        record: ExplanationRecord,
        execution: str,
        *,
        first: int,
        expected: Callable[[], int],
    ) -> None:
        self._computer = computer
        self._peers = peers
        self._blobs = blobs
        self._record = record
        self._execution = execution
        self._next = first
        self._expected = expected
        self._ready: dict[int, Block] = {}
        self._read_blobs: set[str] = set()
        self._opened = False
        self._progress_at = time.monotonic()
        self._results_at = self._requested_at = -math.inf
        self.helpers: set[str] = set()

    def blocks(self) -> Iterator[Block | None]:
        """Yield block after block up to the last; None where the next one is not there yet."""
        for number in self._local_blocks():
            if self._is_missing(number):
                yield from self._compute(number)
        self._progress_at = time.monotonic()
        while self._next < self._computer.blocks:
            if self._is_straggling():
                yield from self._compute(self._next)
            else:
                time.sleep(_POLL_SECONDS)
                yield None
            self._read_results_if_due()
            yield from self._in_order()

    def close(self) -> None:
        """Offer no more shards, and delete the helpers' effects: they have been used, or are not needed."""
        if self._opened:
            self._peers.shards.close(self._record.id, self._execution)
            try:
                self._blobs.delete(sorted(self._read_blobs))
            except StorageError:
                logger.warning("shards of explanation %s are deleted when it expires", self._record.id)

    def _local_blocks(self) -> Iterator[int]:
        """Yield the numbers of blocks to compute here, each at its turn."""
        if self._peers.shards.plan_digest(self._record.id) == self._computer.plan_digest:
            self._open()  # because helpers of an earlier coordinator are still at work
        while not self._opened and self._next < self._computer.blocks:
            yield self._next
            if self._should_share():
                self._open()
        while self._opened and (shard := self._claim()):
            yield from shard

    def _claim(self) -> range:
        end = self._computer.blocks
        shard = self._peers.shards.claim(self._record.id, self._computer.blocks_within(SHARD_SECONDS), end=end)
        return shard.blocks if shard is not None else range(0)

    def _compute(self, number: int) -> Iterator[Block | None]:
        self._ready[number] = self._computer.block(number)
        self._read_results_if_due()
        yield from self._in_order()

    def _in_order(self) -> Iterator[Block | None]:
        if self._next not in self._ready:
            yield None
        while block := self._ready.pop(self._next, None):
            self._next += 1
            yield block

    def _is_missing(self, number: int) -> bool:
        return number >= self._next and number not in self._ready

    def _should_share(self) -> bool:
        left = self._expected() - self._next
        return self._computer.can_be_shared and left * self._computer.seconds > self._peers.share_after_seconds

    def _open(self) -> None:
        self._opened = True
        self._peers.shards.open(
            self._record.id,
            self._execution,
            first=self._next,
            limit=self._limit(),
            plan_digest=self._computer.plan_digest,
        )

    def _limit(self) -> int:
        """Return the block before which helpers stop: somewhat after the probable end."""
        left = max(0, self._expected() - self._next)
        margin = max(left // 4, 4 * self._computer.blocks_within(SHARD_SECONDS))
        return min(self._computer.blocks, self._next + left + margin)

    def _read_results_if_due(self) -> None:
        now = time.monotonic()
        if not self._opened or now - self._results_at < _RESULTS_SECONDS:
            return
        self._results_at = now
        for result in self._peers.shards.results(self._record.id, self._execution, limit=self._limit()):
            if result.blob not in self._read_blobs:
                self._read(result)
        if now - self._requested_at >= _REQUEST_SECONDS and self._should_share():
            self._requested_at = now
            self._peers.request_help(self._record.id, self._record.request.model)

    def _read(self, result: ShardResult) -> None:
        numbers = result.shard.blocks
        effects: Iterable[NDArray[np.float32]] = ()
        if numbers.stop > self._next:
            try:
                effects = self._blobs.get_array(result.blob)
            except StorageError:  # it is read again, or computed here
                return
            except BlobNotFoundError:
                logger.warning("a shard of explanation %s is lost", self._record.id)
        self._read_blobs.add(result.blob)
        for number, array, matched in zip(numbers, effects, result.matched, strict=False):
            if self._is_missing(number):
                self._ready[number] = self._computer.from_stored(number, array, matched)
                self._progress_at = time.monotonic()
                self.helpers.add(result.worker)

    def _is_straggling(self) -> bool:
        """Return whether the next block is late for a shard that is computed elsewhere."""
        seconds = self._computer.blocks_within(SHARD_SECONDS) * self._computer.seconds
        return time.monotonic() - self._progress_at > 2 * seconds + _STRAGGLER_SLACK_SECONDS
