"""Whether one image gets one answer: before masked ones, among them, after them, and as a copy that is not exact.

An honest model has no memory. One that remembers near copies of an image knows when it is being explained; the first
answer, and an image that differs in one pixel, tell.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.audit.asking import Answers, PictureAsker
from workers.evidence.sentences import is_consistent
from workers.explainer.plan import ExplanationPlan

_NUDGE = 1 / 255  # of the distance between image and fill: no exact copy, and nothing that anybody sees


@dataclass(frozen=True)
class RepeatedAnswers:
    """Differences of a model's answers to one image from its first one; all of them `[T]`.

    Attributes:
        among: in a batch of masked images.
        again: of two more calls, the larger one.
        varied: with one pixel changed.
        noise: between two identical calls.
        rounding: smallest relative step of the model's numbers.
    """

    among: NDArray[np.float64]
    again: NDArray[np.float64]
    varied: NDArray[np.float64]
    noise: NDArray[np.float64]
    rounding: float

    @property
    def repeated(self) -> NDArray[np.float64]:
        """The largest difference among answers to exact copies, `[T]`."""
        return np.maximum(self.among, self.again)

    def is_same(self, difference: float) -> bool:
        """Return whether answers to exact copies that differ by so much are the same."""
        return is_consistent(difference, float(self.noise.max()), rounding=self.rounding)


def ask_again(plan: ExplanationPlan, asker: PictureAsker, among: Answers) -> RepeatedAnswers:
    """Return how answers to the image differ from that which was given when the plan was made.

    Args:
        plan: of the explanation.
        asker: of its model.
        among: the answer to the image among masked ones, `[R]`.
    """
    image = plan.problem.image
    first = plan.unmasked[plan.resolved.target_rows].double().cpu().numpy()
    again, last = (asker.probabilities(1, lambda *_: image[None])[0] for _ in range(2))
    varied = asker.probabilities(1, lambda *_: _with_one_pixel_changed(image, plan.problem.fills[0])[None])[0]
    return RepeatedAnswers(
        among=np.abs(among[asker.target_rows] - first),
        again=np.abs(np.stack([again, last]) - first).max(0),
        varied=np.abs(varied - first),
        noise=np.abs(last - again),
        rounding=torch.finfo(image.dtype).eps,
    )


def _with_one_pixel_changed(image: Tensor, fill: Tensor) -> Tensor:
    varied = image.clone()
    varied[:, image.shape[1] // 2, image.shape[2] // 2] += _NUDGE * (fill - image).abs().max()
    return varied
