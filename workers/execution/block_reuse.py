"""Blocks that a finished explanation of the same kin has left: they are the first blocks of the next one."""

import logging
from collections.abc import Iterator
from itertools import count

from app.contract.errors import BlobNotFoundError, StorageError
from app.contract.explanations.reuse_index import BlockReuseIndex
from app.contract.explanations.store import ExplanationStore
from app.contract.schemas import ExplanationRecord, TargetResult
from app.contract.storage.object_store import BlobStore
from workers.explainer.block_computer import BlockComputer
from workers.saliency.estimators import Block

logger = logging.getLogger(__name__)

_SAME_PIXELS = 1.0  # because models on other devices differ in the last digits


def reusable_blocks(
    kin: BlockReuseIndex,
    store: ExplanationStore,
    blobs: BlobStore,
    record: ExplanationRecord,
    calculator: BlockComputer,
    targets: list[TargetResult],
) -> Iterator[list[Block]]:
    """Yield the blocks that are there already, a checkpoint at a time, from the first on.

    The share of masked images that matched is known per target and not per block: each block gets the mean of all.

    Args:
        kin: knows who has left some.
        store: of explanations.
        blobs: where effects are.
        record: the explanation that begins.
        calculator: of its blocks.
        targets: that were found for it.
    """
    other = kin.find(record)
    left = store.read(other) if other is not None and other != record.id else None
    if left is None or left.state is None or left.state.kind != "effects" or not _are_same(left.targets, targets):
        return
    matched, numbers = [target.matched or 0.0 for target in left.targets], count()
    try:
        for array in blobs.get_arrays([checkpoint.blob for checkpoint in left.state.checkpoints]):
            yield [calculator.given(number, effects, matched) for effects, number in zip(array, numbers, strict=False)]
    except (BlobNotFoundError, StorageError) as error:  # because it may be deleted at any time
        logger.info("explanation %s goes on from what it has of %s: %s", record.id, left.id, error)


def _are_same(some: list[TargetResult], others: list[TargetResult]) -> bool:
    return len(some) == len(others) and all(map(_is_same, some, others))


def _is_same(one: TargetResult, other: TargetResult) -> bool:
    if one.label != other.label or (one.box is None) != (other.box is None):
        return False
    return all(abs(a - b) < _SAME_PIXELS for a, b in zip(one.box or (), other.box or (), strict=True))
