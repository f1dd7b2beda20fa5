"""Drives the masking loop block by block, at a batch that fits, so that a device never waits for its host.

A GPU computes while this process goes on. While it is busy with one block the next one begins here, so that it has work
when the caller looks at what came out; without that, explanations took 5 to 8 % longer on an H100. Only one batch runs
ahead, and never more than two are under way: a worker that is asked to leave leaves soon, and each launch is a true
sign of life. Where everything is there at once, as on a CPU, nothing runs ahead.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from workers.saliency.estimators import BatchSteps, Block, MaskingProblem, PendingBlock, allocate_batch

Launch = Callable[[MaskingProblem, int, Tensor], BatchSteps[PendingBlock]]
"""Scene, number of a block, room for one batch of masked images -> the steps that launch the block."""

_BATCHES_UNDER_WAY = 2


class BlockPipeline:
    """Computes blocks by their numbers, in any order; going up one by one is fastest.

    Args:
        problem: what the loop looks at.
        launch: how a block is launched.
        blocks: number of blocks at most.
        when_halved: called each time when a batch was halved because memory ran out.
    """

    def __init__(
        self, problem: MaskingProblem, launch: Launch, blocks: int, *, when_halved: Callable[[], None]
    ) -> None:
        self._problem = problem
        self._launch = launch
        self._blocks = blocks
        self._when_halved = when_halved
        self._buffer: Tensor | None = None
        self._ahead: dict[int, BatchSteps[PendingBlock]] = {}  # at most one, begun before anybody has asked for it
        self._under_way: deque[torch.cuda.Event] = deque()

    def block(self, number: int) -> Block:
        """Return a block; halves the batch where memory runs out.

        Raises:
            torch.OutOfMemoryError: if not even one masked image fits.
        """
        launched = self._launched(number)
        if not launched.has_arrived and number + 1 < self._blocks:
            self._start_ahead(number + 1)
        return launched.block()

    def _launched(self, number: int) -> PendingBlock:
        steps = self._ahead.pop(number, None)
        self._ahead.clear()
        while True:
            try:
                return self._run_to_end(steps or self._steps(number))
            except torch.OutOfMemoryError:
                if self._problem.batch == 1:
                    raise
                steps = None
                self._halve()

    def _start_ahead(self, number: int) -> None:
        steps = self._steps(number)
        try:
            self._step(steps)
        except torch.OutOfMemoryError:  # when its turn comes it will see for itself
            return
        self._ahead[number] = steps

    def _steps(self, number: int) -> BatchSteps[PendingBlock]:
        if self._buffer is None:
            self._buffer = allocate_batch(self._problem)
        return self._launch(self._problem, number, self._buffer)

    def _run_to_end(self, steps: BatchSteps[PendingBlock]) -> PendingBlock:
        while True:
            try:
                self._step(steps)
            except StopIteration as end:
                launched: PendingBlock = end.value
                return launched

    def _step(self, steps: BatchSteps[PendingBlock]) -> None:
        while len(self._under_way) >= _BATCHES_UNDER_WAY:
            self._under_way.popleft().synchronize()
        with torch.inference_mode():  # around each step, because the mode belongs to the thread
            next(steps)
        if self._problem.image.is_cuda:
            self._under_way.append(torch.cuda.current_stream(self._problem.image.device).record_event())

    def _halve(self) -> None:
        self._when_halved()
        self._buffer = None
        # A block is the same at any batch size.
        self._problem = replace(self._problem, batch=self._problem.batch // 2)
