"""What a worker does that has nothing else to do: it computes shards of an explanation that another one leads."""

import logging
import uuid
from contextlib import suppress

import numpy as np

from app.contract.images import decode
from app.contract.storage.object_store import effects_blob, image_blob
from workers.execution.run import JobContext, load_and_plan
from workers.execution.shards import SHARD_SECONDS, Shard, ShardResult
from workers.explainer.block_computer import BlockComputer
from workers.supervision.current_attempt import ShutdownRequested
from workers.supervision.failures import failure_of

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.05


def assist(context: JobContext, explanation_id: str) -> None:
    """Compute shards of an explanation until there are none, or something else waits, or the worker is to stop.

    Whatever goes wrong is the leader's business, who computes what does not come, and finds out why it cannot be had.
    """
    try:
        calculator = _calculator(context, explanation_id)
        while calculator is not None and not context.stopping.is_set() and not context.team.is_wanted_elsewhere():
            shard = context.team.shards.claim(explanation_id, calculator.blocks_within(SHARD_SECONDS))
            if shard is None or shard.first >= calculator.blocks:
                return
            if shard.size:
                _deliver(context, explanation_id, calculator, shard)
            else:
                context.stopping.wait(_PAUSE_SECONDS)
    except ShutdownRequested:
        return
    except Exception as error:
        failure = failure_of(error)
        words = "explanation %s goes on without assistance: %s"
        logger.warning(words, explanation_id, failure.detail, exc_info=failure.code == "internal")


def _calculator(context: JobContext, explanation_id: str) -> BlockComputer | None:
    """Return what computes blocks of an explanation; None where nobody asks for any, or for others."""
    aim, record = context.team.shards.aim(explanation_id), context.store.read(explanation_id)
    if aim is None or record is None:
        return None
    image = decode(context.blobs.get(image_blob(explanation_id)))
    model, study = load_and_plan(context, record, image)
    calculator = BlockComputer(study, model.id, when_halved=lambda: context.statistics.count_memory_retry(model.id))
    if calculator.aim != aim:
        logger.warning("explanation %s has other targets here", explanation_id)
        return None
    return calculator


def _deliver(context: JobContext, explanation_id: str, calculator: BlockComputer, shard: Shard) -> None:
    blocks = []
    with suppress(ShutdownRequested):
        for number in shard.blocks:
            blocks.append(calculator.block(number))
    if not blocks:
        return
    name = effects_blob(explanation_id, uuid.uuid4().hex, shard.first, len(blocks))
    context.blobs.put_array(name, np.stack([block.effects for block in blocks]).astype(np.float32))
    matched = [calculator.matched_of_targets(block) for block in blocks]
    done = Shard(shard.first, len(blocks))
    context.team.shards.deliver(explanation_id, ShardResult(done, name, matched, context.team.worker))
