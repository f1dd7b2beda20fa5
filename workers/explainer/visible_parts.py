"""Scores of targets where only a part of the image is visible: the objects, or what is around them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from app.contract.errors import RiseError
from app.contract.saliency.geometry import Array, Viewport, resampled, viewport_of_canvas
from app.contract.schemas import Box, Prediction
from workers.explainer.plan import ExplanationPlan
from workers.saliency.masks import blend
from workers.saliency.similarity import OVERLAPPING, intersection_over_union

_DETECTIONS = 100
_CONFIDENT = 0.3  # from which a detection counts, as D-RISE's `threshold` has it by default
_BATCH = 8  # small, because a model that has room for a batch of masks has room for this


@dataclass(frozen=True)
class PartScores:
    """Probabilities (or matches) of each target, and what the model says of the whole image, `[T]` each.

    Attributes:
        whole: nothing is hidden.
        objects: everything but its objects is hidden.
        background: its objects are hidden.
        nothing: everything is hidden.
        predicted: the most probable class in the whole image; of a detector, for each target its most confident
            detection there that overlaps the target's box by half, if any.
    """

    whole: NDArray[np.float64]
    objects: NDArray[np.float64]
    background: NDArray[np.float64]
    nothing: NDArray[np.float64]
    predicted: list[Prediction | None]


def score_parts(plan: ExplanationPlan, targets: Sequence[int], hiding: Array, frame: Viewport) -> PartScores:
    """Ask the model about parts of the image; hidden is by the explanation's fill, the first of several.

    Args:
        plan: of the explanation.
        targets: their indices.
        hiding: for each target how much of each pixel hides its objects, `[T, H, W]`, 0..1.
        frame: the pixels of `hiding`.

    Raises:
        RiseError: `model-failed` where a probability is no finite number.
    """
    canvas = plan.problem.canvas
    on_canvas = resampled(hiding, frame, viewport_of_canvas(canvas, max_side=canvas.height + canvas.width))
    extremes = np.stack([np.zeros_like(on_canvas[0]), np.ones_like(on_canvas[0])])
    with torch.inference_mode():
        scores = _scores(plan, np.concatenate([extremes, 1 - on_canvas, on_canvas]))[:, list(targets)]
        predictions = plan.predictions(plan.forward(plan.problem.image[None]), _DETECTIONS)
    if not np.isfinite(scores).all():
        raise RiseError("model-failed", "the model's scores of parts of the image are not finite numbers")
    whole, nothing = scores[:2]
    objects, background = (part.diagonal() for part in scores[2:].reshape(2, len(hiding), -1))
    predicted = [_predicted_at(plan.resolved.targets[target].box, predictions) for target in targets]
    return PartScores(whole, objects, background, nothing, predicted)


def _predicted_at(box: Box | None, predictions: Sequence[Prediction]) -> Prediction | None:
    """Return the first prediction, of detections the first that is confident and about the same object as the box."""
    here = (
        prediction
        for prediction in predictions
        if box is None
        or prediction.box is None
        or (prediction.score >= _CONFIDENT and overlap(box, prediction.box) >= OVERLAPPING)
    )
    return next(here, None)


def overlap(one: Box, other: Box) -> float:
    """Return the intersection of two boxes over their union."""
    return float(intersection_over_union(torch.tensor([one]), torch.tensor([other])))


def _scores(plan: ExplanationPlan, hidden: Array) -> NDArray[np.float64]:
    """Return the probabilities of the targets, `[N, T]`, for images of which `hidden`, `[N, H, W]`, is hidden."""
    problem, measure = plan.problem, plan.resolved.probability or plan.resolved.score
    batch, found = min(_BATCH, problem.batch), []
    for start in range(0, len(hidden), batch):
        part = torch.from_numpy(hidden[start : start + batch]).to(problem.image.device)
        buffer = problem.image.new_empty((len(part), *problem.image.shape))
        masked = blend(problem.image, problem.fills[:1] - problem.image, part[None], out=buffer)
        found.append(measure(plan.forward(masked)).float()[:, plan.resolved.target_rows])
    return torch.cat(found).double().cpu().numpy()
