"""RISE: the regions that a classifier's score depends on.

Petsiuk, Das, Saenko: RISE: Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018, arXiv 1806.07421;
equation 6 for the published estimator, `sum(score * mask) / (N p)`.
"""

import torch
from pydantic import Field
from torch import Tensor

from app.contract.schemas import Task
from workers.blackbox import Classifier, Segmenter
from workers.blackbox.preprocessing import CoordinateTransform
from workers.explainer.parameters import Fills, Grid, MaskingParameters, in_turns
from workers.explainer.region_targets import resolve_scored_targets
from workers.explainer.targets import ClassScore, RequestedTargets, ResolvedTargets
from workers.saliency.estimators import PublishedMap

TASKS: tuple[Task, ...] = ("classification", "segmentation")
DEFAULT_FOR: tuple[Task, ...] = ("classification", "segmentation")


class Parameters(MaskingParameters):
    """RISE: hides random parts of the image and shows how a visible pixel changes the score of a class."""

    grid: Grid = Field(8, description="Cells along each side, or [rows, columns].")
    fill: Fills = Field(
        "black",
        description="What hides: a name from `GET /v1/fills`, or a colour `#rrggbb`; or a list of these, in turns from "
        "block to block, so that the error bars hold what the map owes to the choice.",
    )
    score: ClassScore = Field(
        "probability",
        description="What of a class is explained; `log-odds`, log(p / (1 - p)), tells apart what is nearly certain.",
    )


def fills(parameters: Parameters) -> list[str]:
    """Return the one fill, or those that take turns."""
    return [in_turns(parameters.fill)]


def resolve_targets(
    black_box: Classifier | Segmenter,
    outputs: Tensor,
    requested: RequestedTargets,
    transform: CoordinateTransform,
    parameters: Parameters,
) -> ResolvedTargets:
    """Return the classes to explain, of segmentation models with their regions, and how raw outputs become scores."""
    kept = parameters.cells[0] * parameters.cells[1] if parameters.estimator == "contrast" else None
    return resolve_scored_targets(
        black_box, outputs, requested, transform, what=parameters.score, numbers_per_class=kept
    )


def published_weights(parameters: Parameters) -> PublishedMap:
    """Return the published weighting, `score * mask / p`, summed over the batch."""

    def weighted(scores: Tensor, masks: Tensor) -> Tensor:
        return (torch.einsum("br,bhw->rhw", scores, masks[0]) / parameters.keep).unsqueeze(1)

    return weighted


def published_scale(_: Parameters, __: int) -> float:
    """Return the factor from the mean over masks to the published map: RISE divides by N."""
    return 1.0
