"""The blocks of one explanation in their order: computed here, and by idle workers too where that is worth it.

Whoever runs an explanation leads. It computes blocks itself, one after the other, until it sees that this will take a
while; then it hands blocks out (`workers/execution/shards.py`) and calls in whoever has nothing to do. It goes on
taking
shards like everybody else and yields blocks in their order, whoever computed them. So the caller stops at the same
block, with the same map, as if one worker had done it all. What does not come in time is computed here.
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
from workers.execution.peers import PeerWorkers
from workers.execution.shards import SHARD_SECONDS, ShardResult
from workers.explainer.block_computer import BlockComputer
from workers.saliency.estimators import Block

logger = logging.getLogger(__name__)

_COLLECT_SECONDS = 0.1
_CALL_SECONDS = 1.0
_PAUSE_SECONDS = 0.01
_PATIENCE_SECONDS = 1.0  # with a shard, beyond twice what it takes here


class ShardCoordinator:
    """Gives the blocks of an explanation in their order.

    Args:
        calculator: computes blocks here.
        team: the other workers.
        blobs: where they leave what they have computed.
        record: the explanation.
        execution: of it, by this worker.
        first: the first block that is missing.
        expected: returns the block before which the explanation probably ends.

    Attributes:
        assistants: names of the workers whose blocks were used.
    """

    def __init__(
        self,
        calculator: BlockComputer,
        team: PeerWorkers,
        blobs: BlobStore,
        record: ExplanationRecord,
        execution: str,
        *,
        first: int,
        expected: Callable[[], int],
    ) -> None:
        self._calculator = calculator
        self._team = team
        self._blobs = blobs
        self._record = record
        self._execution = execution
        self._next = first
        self._expected = expected
        self._ready: dict[int, Block] = {}
        self._seen: set[str] = set()
        self._opened = False
        self._news_at = time.monotonic()
        self._collected_at = self._called_at = -math.inf
        self.assistants: set[str] = set()

    def blocks(self) -> Iterator[Block | None]:
        """Yield block after block up to the last; None where the next one is not there yet."""
        for number in self._own():
            if self._is_missing(number):
                yield from self._computed(number)
        self._news_at = time.monotonic()
        while self._next < self._calculator.blocks:
            if self._is_late():
                yield from self._computed(self._next)
            else:
                time.sleep(_PAUSE_SECONDS)
                yield None
            self._collect_if_due()
            yield from self._in_order()

    def close(self) -> None:
        """End the assistants' work and remove what they have left: it has been used, or is not needed."""
        if self._opened:
            self._team.shards.close(self._record.id, self._execution)
            try:
                self._blobs.delete(sorted(self._seen))
            except StorageError:
                logger.warning("shards of explanation %s go when it expires", self._record.id)

    def _own(self) -> Iterator[int]:
        """Yield the numbers of blocks to compute here, each when its turn has come."""
        if self._team.shards.aim(self._record.id) == self._calculator.aim:
            self._open()  # because an earlier leader's assistants are still at it
        while not self._opened and self._next < self._calculator.blocks:
            yield self._next
            if self._is_worth_it():
                self._open()
        while self._opened and (shard := self._claimed()):
            yield from shard

    def _claimed(self) -> range:
        end = self._calculator.blocks
        shard = self._team.shards.claim(self._record.id, self._calculator.blocks_within(SHARD_SECONDS), end=end)
        return shard.blocks if shard is not None else range(0)

    def _computed(self, number: int) -> Iterator[Block | None]:
        self._ready[number] = self._calculator.block(number)
        self._collect_if_due()
        yield from self._in_order()

    def _in_order(self) -> Iterator[Block | None]:
        if self._next not in self._ready:
            yield None
        while block := self._ready.pop(self._next, None):
            self._next += 1
            yield block

    def _is_missing(self, number: int) -> bool:
        return number >= self._next and number not in self._ready

    def _is_worth_it(self) -> bool:
        left = self._expected() - self._next
        return self._calculator.can_be_shared and left * self._calculator.seconds > self._team.worth_seconds

    def _open(self) -> None:
        self._opened = True
        self._team.shards.open(
            self._record.id, self._execution, first=self._next, limit=self._limit(), aim=self._calculator.aim
        )

    def _limit(self) -> int:
        """Return the block up to which assistants go: a little further than this explanation is likely to."""
        left = max(0, self._expected() - self._next)
        further = max(left // 4, 4 * self._calculator.blocks_within(SHARD_SECONDS))
        return min(self._calculator.blocks, self._next + left + further)

    def _collect_if_due(self) -> None:
        now = time.monotonic()
        if not self._opened or now - self._collected_at < _COLLECT_SECONDS:
            return
        self._collected_at = now
        for delivery in self._team.shards.collect(self._record.id, self._execution, limit=self._limit()):
            if delivery.blob not in self._seen:
                self._take_in(delivery)
        if now - self._called_at >= _CALL_SECONDS and self._is_worth_it():
            self._called_at = now
            self._team.call_in(self._record.id, self._record.request.model)

    def _take_in(self, delivery: ShardResult) -> None:
        numbers = delivery.shard.blocks
        effects: Iterable[NDArray[np.float32]] = ()
        if numbers.stop > self._next:
            try:
                effects = self._blobs.get_array(delivery.blob)
            except StorageError:  # it is asked for again, or computed here
                return
            except BlobNotFoundError:
                logger.warning("a shard of explanation %s is lost", self._record.id)
        self._seen.add(delivery.blob)
        for number, array, matched in zip(numbers, effects, delivery.matched, strict=False):
            if self._is_missing(number):
                self._ready[number] = self._calculator.given(number, array, matched)
                self._news_at = time.monotonic()
                self.assistants.add(delivery.worker)

    def _is_late(self) -> bool:
        """Return whether the next block has not come although there was time enough."""
        seconds = self._calculator.blocks_within(SHARD_SECONDS) * self._calculator.seconds
        return time.monotonic() - self._news_at > 2 * seconds + _PATIENCE_SECONDS
