"""The job of an idle worker that helps: it computes shards of an explanation that another worker coordinates."""

import logging
import uuid
from contextlib import suppress

import numpy as np

from app.contract.images.decoding import decode
from app.contract.storage.object_store import effects_blob, image_blob
from workers.execution.run import JobContext, load_and_plan
from workers.execution.shards import SHARD_SECONDS, Shard, ShardResult
from workers.explainer.block_computer import BlockComputer
from workers.supervision.current_attempt import ShutdownRequested
from workers.supervision.failures import failure_of

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.05


def help_with(context: JobContext, explanation_id: str) -> None:
    """Compute shards of an explanation until there are none, other work is queued, or the worker is to stop.

    Failures are only logged: the coordinator computes what is missing, and meets the cause itself.
    """
    try:
        computer = _computer_for(context, explanation_id)
        while computer is not None and not context.stopping.is_set() and not context.peers.has_pending_work():
            shard = context.peers.shards.claim(explanation_id, computer.blocks_within(SHARD_SECONDS))
            if shard is None or shard.first >= computer.blocks:
                return
            if shard.size:
                _compute(context, explanation_id, computer, shard)
            else:
                context.stopping.wait(_POLL_SECONDS)
    except ShutdownRequested:
        return
    except Exception as error:
        failure = failure_of(error)
        words = "explanation %s continues without this helper: %s"
        logger.warning(words, explanation_id, failure.detail, exc_info=failure.code == "internal")


def _computer_for(context: JobContext, explanation_id: str) -> BlockComputer | None:
    """Return what computes blocks of an explanation; None where no shards are offered, or for other targets."""
    digest, record = context.peers.shards.plan_digest(explanation_id), context.store.read(explanation_id)
    if digest is None or record is None:
        return None
    image = decode(context.blobs.get(image_blob(explanation_id)))
    model, plan = load_and_plan(context, record, image)
    computer = BlockComputer(plan, model.id, when_halved=lambda: context.statistics.count_memory_retry(model.id))
    if computer.plan_digest != digest:
        logger.warning("explanation %s has other targets here", explanation_id)
        return None
    return computer


def _compute(context: JobContext, explanation_id: str, computer: BlockComputer, shard: Shard) -> None:
    """Compute a shard, or its first blocks where the worker is to stop, and submit the result."""
    blocks = []
    with suppress(ShutdownRequested):
        for number in shard.blocks:
            blocks.append(computer.block(number))
    if not blocks:
        return
    name = effects_blob(explanation_id, uuid.uuid4().hex, shard.first, len(blocks))
    context.blobs.put_array(name, np.stack([computer.packed(block) for block in blocks]))
    matched = [computer.matched_of_targets(block) for block in blocks]
    result = ShardResult(Shard(shard.first, len(blocks)), name, matched, context.peers.worker)
    context.peers.shards.submit(explanation_id, result)
