"""Drives the masking loop block by block, at a batch size that fits, and keeps the device busy between blocks.

A GPU computes asynchronously. While it computes one block the next one is started, so that it has work while the caller
processes the result; without that, explanations took 5 to 8 % longer on an H100. Only one batch is started ahead, and
at most two are in flight, so that a worker can stop soon, and each launch shows progress. On a CPU, where results are
there at once, nothing is started ahead.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from workers.saliency.estimators import BatchSteps, Block, MaskingProblem, PendingBlock, allocate_batch

Launch = Callable[[MaskingProblem, int, Tensor], BatchSteps[PendingBlock]]
"""Problem, number of a block, buffer for one batch of masked images -> the steps that launch the block."""

_BATCHES_IN_FLIGHT = 2


class BlockPipeline:
    """Computes blocks by their numbers, in any order; going up one by one is fastest.

    Args:
        problem: of the masking loop.
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
        self._ahead: dict[int, BatchSteps[PendingBlock]] = {}  # at most one, started before it is requested
        self._in_flight: deque[torch.cuda.Event] = deque()

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
        except torch.OutOfMemoryError:  # because it is tried again at its turn, at a smaller batch
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
        while len(self._in_flight) >= _BATCHES_IN_FLIGHT:
            self._in_flight.popleft().synchronize()
        with torch.inference_mode():  # around each step, because the mode belongs to the thread
            next(steps)
        if self._problem.image.is_cuda:
            self._in_flight.append(torch.cuda.current_stream(self._problem.image.device).record_event())

    def _halve(self) -> None:
        self._when_halved()
        self._buffer = None
        # A block is the same at any batch size.
        self._problem = replace(self._problem, batch=self._problem.batch // 2)
