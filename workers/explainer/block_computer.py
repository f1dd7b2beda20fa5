"""Computes blocks of a plan by their numbers, in any order, and measures how long that takes."""

import json
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.contract.errors import RiseError
from workers.explainer.plan import ExplanationPlan
from workers.explainer.stored_blocks import pack, unpack
from workers.saliency.estimators import Block
from workers.supervision.current_attempt import model_call


class BlockComputer:
    """Computes one block at a time.

    Args:
        plan: of the explanation.
        model_id: named in failures.
        when_halved: called when a batch was halved because memory ran out.

    Attributes:
        seconds: that the last block took; 0 before the first.
    """

    def __init__(self, plan: ExplanationPlan, model_id: str, *, when_halved: Callable[[], None]) -> None:
        self._plan = plan
        self._model_id = model_id
        self._pipeline = plan.pipeline(when_halved=when_halved)
        self.seconds = 0.0

    @property
    def plan_digest(self) -> str:
        """What the rows of effects mean: the same for all workers whose blocks can be combined.

        Boxes are rounded, because models on other devices differ in the last digits.
        """
        targets = [
            [target.label, target.box and [round(side) for side in target.box]]
            for target in self._plan.resolved.targets
        ]
        meaning = [self._plan.parameters.model_dump(mode="json"), targets, self._plan.design.refined]
        return json.dumps(meaning, sort_keys=True)

    @property
    def blocks(self) -> int:
        """Blocks at most."""
        return self._plan.blocks

    @property
    def can_be_shared(self) -> bool:
        """Whether blocks are small enough to send: those of the published estimator are maps at full resolution."""
        return self._plan.parameters.estimator == "contrast"

    def block(self, number: int) -> Block:
        """Return a block.

        Raises:
            RiseError: `model-failed` or `out-of-memory`, naming the model.
        """
        started = time.monotonic()
        with model_call(self._model_id):
            block = self._pipeline.block(number)
        if not np.isfinite(block.effects).all():
            raise RiseError("model-failed", f"model {self._model_id!r} gave scores that are not finite numbers")
        self.seconds = time.monotonic() - started
        return block

    def blocks_within(self, seconds: float) -> int:
        """Return how many blocks take about as long, at least one."""
        return max(1, int(seconds / self.seconds)) if self.seconds else 1

    def matched_of_targets(self, block: Block) -> list[float]:
        """Return per target the share of a block's masked images with a match."""
        return [float(block.matched[row]) for row in self._plan.resolved.target_rows]

    def packed(self, block: Block) -> NDArray[np.float32]:
        """Return a block as it is stored and sent."""
        return pack(block, self._plan.resolved.target_rows)

    def from_stored(self, number: int, array: NDArray[np.float32], matched: list[float]) -> Block:
        """Return a block that was computed elsewhere or earlier.

        Args:
            number: of the block.
            array: as `packed` returned it.
            matched: per target.
        """
        resolved = self._plan.resolved
        effects, moments = unpack(array, len(resolved.rows or resolved.targets), resolved.target_rows)
        rates = np.zeros(len(effects), dtype=np.float32)
        rates[resolved.target_rows] = matched
        return Block(number, self._plan.block_size, effects, rates, moments)
