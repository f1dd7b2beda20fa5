"""Asks the model of an explanation for pictures that are no masks of its blocks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.errors import RiseError
from workers.explainer.plan import ExplanationPlan

_BATCH = 8  # small, because a model that has room for a batch of masks has room for this

Draw = Callable[[int, int], Tensor]
"""Start and stop -> that part of the pictures `[B, 3, H, W]`, because all of them may not fit into memory."""

Answers = NDArray[np.float64]
"""Of N pictures and T targets, `[N, T]`."""


class PictureAsker:
    """Asks for scores and probabilities of the targets, in batches that fit.

    Args:
        plan: of the explanation.
        asked: called after each batch with the number of pictures so far; what it raises ends the audit.

    Attributes:
        passes: pictures asked so far.
    """

    def __init__(self, plan: ExplanationPlan, asked: Callable[[int], None]) -> None:
        self._plan = plan
        self._asked = asked
        self.passes = 0

    @property
    def target_rows(self) -> list[int]:
        """The row of each target."""
        return self._plan.resolved.target_rows

    def probabilities(self, count: int, draw: Draw) -> Answers:
        """Return the probability or match of each target in some pictures on the canvas."""
        return self.all_probabilities(count, draw)[:, self.target_rows]

    def all_probabilities(self, count: int, draw: Draw) -> Answers:
        """Return the probability or match of each row, `[N, R]`: also of classes that are no targets."""
        return self._answers(count, draw, self._plan.resolved.probability or self._plan.resolved.score)

    def scores(self, count: int, draw: Draw) -> Answers:
        """Return the score of each target in some pictures on the canvas.

        Raises:
            RiseError: `model-failed` where one is no finite number; likewise above.
        """
        return self._answers(count, draw, self._plan.resolved.score)[:, self.target_rows]

    def count(self, pictures: int) -> None:
        """Count pictures that the model was asked for."""
        self.passes += pictures
        self._asked(self.passes)

    def _answers(self, count: int, draw: Draw, read: Callable[[Any], Tensor]) -> Answers:
        batch = min(_BATCH, self._plan.problem.batch)
        parts = [self._read(draw, start, min(count, start + batch), read) for start in range(0, count, batch)]
        answers = np.concatenate(parts)
        if not np.isfinite(answers).all():
            raise RiseError("model-failed", "the model's scores of the audit's pictures are not finite numbers")
        return answers

    def _read(self, draw: Draw, start: int, stop: int, read: Callable[[Any], Tensor]) -> Answers:
        """Return the answers to a part of the pictures, in smaller parts where memory runs out."""
        try:
            outputs = self._plan.forward(draw(start, stop))
            answers: Answers = read(outputs).double().cpu().numpy()
        except torch.OutOfMemoryError:
            if stop - start == 1:
                raise
        else:
            self.count(stop - start)
            return answers
        middle = (start + stop) // 2
        return np.concatenate([self._read(draw, start, middle, read), self._read(draw, middle, stop, read)])
