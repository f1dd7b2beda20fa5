"""MC-RISE: the colours that a classifier depends on. Masks paint cells in colours instead of hiding them.

Hatakeyama, Sakuma, Konishi, Suenaga: Visualizing Color-wise Saliency of Black-Box Image Classification Models, ACCV
2020, arXiv 2010.02468. Published estimator: `sum(score * (K m_c / (1-p) - m_0 / p)) / N`, with the weights as in the
derivation; a well-known implementation swaps p and 1-p, which agrees at p = 0.5 only.
"""

import torch
from pydantic import Field
from torch import Tensor

from app.contract.schemas import Task
from workers.blackbox import Classifier, Segmenter
from workers.blackbox.preprocessing import CoordinateTransform
from workers.explainer.parameters import Fill, Grid, MaskingParameters
from workers.explainer.region_targets import resolve_scored_targets
from workers.explainer.targets import ClassScore, RequestedTargets, ResolvedTargets
from workers.saliency.estimators import PublishedMap

TASKS: tuple[Task, ...] = ("classification", "segmentation")
DEFAULT_FOR: tuple[Task, ...] = ()


class Parameters(MaskingParameters):
    """MC-RISE: paints random parts of the image and shows, per colour, how that changes the score of a class."""

    grid: Grid = Field(8, description="Cells along each side, or [rows, columns].")
    colors: list[Fill] = Field(
        ["#ff0000", "#00ff00", "#0000ff", "#ffffff", "#000000"],
        min_length=1,
        max_length=16,
        description="What is painted: colours `#rrggbb`, or names from `GET /v1/fills`.",
    )
    score: ClassScore = Field(
        "probability",
        description="What of a class is explained; `log-odds`, log(p / (1 - p)), tells apart what is nearly certain.",
    )


def fills(parameters: Parameters) -> list[str]:
    """Return the colours."""
    return parameters.colors


def resolve_targets(
    black_box: Classifier | Segmenter,
    outputs: Tensor,
    requested: RequestedTargets,
    transform: CoordinateTransform,
    parameters: Parameters,
) -> ResolvedTargets:
    """Return the classes to explain, of segmentation models with their regions, and how raw outputs become scores."""
    numbers = parameters.cells[0] * parameters.cells[1] * len(parameters.colors)
    kept = numbers if parameters.estimator == "contrast" else None
    return resolve_scored_targets(
        black_box, outputs, requested, transform, what=parameters.score, numbers_per_class=kept
    )


def published_weights(parameters: Parameters) -> PublishedMap:
    """Return the published weighting, `score * (K m_c / (1-p) - m_0 / p)`, summed over the batch."""
    keep, colors = parameters.keep, len(parameters.colors)

    def weighted(scores: Tensor, masks: Tensor) -> Tensor:
        weights = colors * masks[1:] / (1 - keep) - masks[:1] / keep
        return torch.einsum("br,kbhw->rkhw", scores, weights)

    return weighted


def published_scale(parameters: Parameters, _: int) -> float:
    """Return the factor on block maps: effects say what becoming visible does, MC-RISE what being painted does."""
    return -1.0 if parameters.estimator == "contrast" else 1.0
