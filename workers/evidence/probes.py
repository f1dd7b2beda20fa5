"""Pictures beyond the masks: the image again, the fill alone, the least relevant cells hidden, random cells hidden.

All of them are pure functions of the plan and of the map, so an explanation that is run again asks for the same ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.schemas import FillScore, HiddenCells, LeastRelevantFirst
from workers.explainer.plan import ExplanationPlan
from workers.saliency.estimators import block_weights
from workers.saliency.masks import blend, render

SHARES = (0.1, 0.25, 0.5)
"""Of the cells, hidden at once."""

MOST_TARGETS = 5
"""Targets whose least relevant cells are hidden: each takes three passes, and the random ones serve all."""

_DRAWS = 3
_BATCH = 8  # small, because a model that has room for a batch of masks has room for this
_RANDOM_STREAM = 0x52414E444F4D  # keys random cells apart from shifts and from the states of blocks


@dataclass(frozen=True)
class ProbeResult:
    """What the model answered.

    Attributes:
        passes: pictures that it was asked for.
        scores: of each target in the unmasked image, in units of the score.
        consistency: largest difference between its answers to the same image, as a probability or match.
        noise: difference between two identical calls.
        fill_scores: of each target; None where several fills take turns in one mask.
        least_relevant_first: of each target; None likewise, and for those after the first few.
    """

    passes: int
    scores: list[float]
    consistency: float
    noise: float
    fill_scores: list[FillScore | None]
    least_relevant_first: list[LeastRelevantFirst | None]


@dataclass(frozen=True)
class _Answers:
    """Scores of the targets, and probabilities or matches, both `[N, T]`."""

    scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]


def probe(plan: ExplanationPlan, relevance: NDArray[np.float64]) -> ProbeResult:
    """Ask the model, and return what follows.

    Args:
        plan: of the explanation.
        relevance: mean of each target's map over the cells of the first block's masks, `[T, K, h, w]`.

    Raises:
        RiseError: `model-failed` where the model fails, or gives no finite scores of the image.
    """
    with torch.inference_mode():
        return _probe(plan, relevance)


def _probe(plan: ExplanationPlan, relevance: NDArray[np.float64]) -> ProbeResult:
    targets = len(plan.resolved.targets)
    has_one_fill = plan.design.fills == 1
    unmasked = plan.unmasked[plan.resolved.target_rows].double().cpu().numpy()
    hidden = _hidden_cells(plan, relevance) if has_one_fill else _painted_over(plan)
    visible = np.zeros_like(hidden[:, :1])
    among = _answers(plan, np.concatenate([visible, hidden], axis=1))
    last = [_answers(plan, visible).probabilities[0] for _ in range(2)]
    return ProbeResult(
        passes=len(among.scores) + has_one_fill + len(last),
        scores=among.scores[0].tolist(),
        consistency=_largest(np.stack([among.probabilities[0], *last]) - unmasked),
        noise=_largest(last[1] - last[0]),
        fill_scores=_fill_scores(plan, unmasked) if has_one_fill else [None] * targets,
        least_relevant_first=_least_relevant_first(plan, among.scores) if has_one_fill else [None] * targets,
    )


def _hidden_cells(plan: ExplanationPlan, relevance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return which cells are hidden, `[1, N, h, w]`: random ones, then the first targets' least relevant."""
    random = np.random.Generator(np.random.Philox(key=[plan.parameters.seed, _RANDOM_STREAM]))
    orders = [random.permutation(plan.design.cells) for _ in range(_DRAWS)]
    orders += [np.argsort(np.abs(of_target).ravel(), kind="stable") for of_target in relevance[:MOST_TARGETS]]
    states = np.zeros((len(orders), len(SHARES), plan.design.cells), dtype=np.float32)
    for of_order, order in zip(states, orders, strict=True):
        for of_share, count in zip(of_order, _counts(plan), strict=True):
            of_share[order[:count]] = 1
    return states.reshape(1, -1, *plan.design.grid)


def _painted_over(plan: ExplanationPlan) -> NDArray[np.float32]:
    """Return all cells hidden by each fill in turn, `[K, K, h, w]`: what the image is asked among."""
    fills = np.eye(plan.design.fills, dtype=np.float32)
    return np.broadcast_to(fills[..., None, None], (*fills.shape, *plan.design.grid))


def _counts(plan: ExplanationPlan) -> list[int]:
    return [max(1, int(share * plan.design.cells)) for share in SHARES]


def _answers(plan: ExplanationPlan, hidden: NDArray[np.float32]) -> _Answers:
    """Return the model's answers to masked images.

    Args:
        plan: of the explanation.
        hidden: which fill hides which cell, `[K, N, h, w]`.
    """
    states = torch.from_numpy(np.ascontiguousarray(hidden)).to(plan.problem.image.device)
    parts = list(_asked(plan, states, min(_BATCH, plan.problem.batch)))
    rows = plan.resolved.target_rows
    scores, probabilities = (torch.cat(part)[:, rows].double().cpu().numpy() for part in zip(*parts, strict=True))
    return _Answers(scores, probabilities)


def _asked(plan: ExplanationPlan, hidden: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield scores and probabilities batch by batch, in smaller ones where memory runs out."""
    problem = plan.problem
    for start in range(0, hidden.shape[1], batch):
        part = hidden[:, start : start + batch]
        try:
            buffer = problem.image.new_empty((part.shape[1], *problem.image.shape))
            masks = render(part, *block_weights(problem, 0))
            outputs = plan.forward(blend(problem.image, problem.fills - problem.image, masks, out=buffer))
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
            yield from _asked(plan, part, batch // 2)
        else:
            yield plan.resolved.score(outputs).float(), _probability(plan, outputs)


def _probability(plan: ExplanationPlan, outputs: Any) -> Tensor:
    return (plan.resolved.probability or plan.resolved.score)(outputs).float()


def _fill_scores(plan: ExplanationPlan, unmasked: NDArray[np.float64]) -> list[FillScore | None]:
    outputs = plan.forward(plan.problem.fills)
    left = _probability(plan, outputs)[0][plan.resolved.target_rows].double().cpu().numpy()
    seen = plan.predictions(outputs, 1)
    name, probability = (seen[0].name, _finite(seen[0].score)) if seen else (None, None)
    return [
        FillScore(target=_finite(rest / whole) if whole > 0 else None, top_class=name, probability=probability)
        for rest, whole in zip(left, unmasked, strict=True)
    ]


def _least_relevant_first(plan: ExplanationPlan, scores: NDArray[np.float64]) -> list[LeastRelevantFirst | None]:
    """Return per target what hiding cells has done.

    Args:
        plan: of the explanation.
        scores: `[N, T]`, first of the unmasked image, then in the order of `_hidden_cells`.
    """
    drops = (scores[0] - scores[1:]).reshape(-1, len(SHARES), scores.shape[1])
    random = drops[:_DRAWS].mean(0)
    found: list[LeastRelevantFirst | None] = [None] * scores.shape[1]
    for target, own in enumerate(drops[_DRAWS:, :, :]):
        steps = [
            HiddenCells(cells=count, drop=float(drop), random=float(other))
            for count, drop, other in zip(_counts(plan), own[:, target], random[:, target], strict=True)
            if np.isfinite(drop) and np.isfinite(other)
        ]
        if len(steps) == len(SHARES):
            found[target] = LeastRelevantFirst(**dict(steps[-1]), steps=steps)
    return found


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _largest(differences: NDArray[np.float64]) -> float:
    largest = float(np.abs(differences).max())
    if not np.isfinite(largest):
        raise RiseError("model-failed", "the model's scores of the unmasked image among others are not finite numbers")
    return largest
