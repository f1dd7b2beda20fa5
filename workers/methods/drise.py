"""D-RISE: the regions that a detection, or its absence, depends on.

Petsiuk, Jain, Manjunatha, Morariu, Mehra, Ordonez, Saenko: Black-box Explanation of Object Detectors via Saliency Maps,
CVPR 2021, arXiv 2006.03204. The published estimator is the sum of masks weighted by similarity (section 3.2); proposals
are taken before thresholds and suppression, because masking weakens detections long before it removes them.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from app.contract.schemas import Task
from workers.blackbox import Detections, Detector
from workers.blackbox.preprocessing import CoordinateTransform
from workers.explainer.detection_targets import resolve_detection_targets
from workers.explainer.method_plugin import Relaxation
from workers.explainer.parameters import Fills, Grid, MaskingParameters, in_turns
from workers.explainer.targets import RequestedTargets, ResolvedTargets
from workers.saliency.estimators import PublishedMap
from workers.saliency.similarity import SimilarityTerm

TASKS: tuple[Task, ...] = ("detection",)
DEFAULT_FOR: tuple[Task, ...] = ("detection",)

_WEAK = 0.2  # share of masked images with a match below which a map is mostly noise
_RESCUE_KEEP = 0.8


class Parameters(MaskingParameters):
    """D-RISE: hides random parts of the image and shows what a detection, its class or its place depends on."""

    grid: Grid | Literal["auto"] = Field(
        "auto",
        description="Cells along each side, or [rows, columns]; `auto`: as few as the smallest target allows, 6 to 16, "
        "and far from small targets four cells are hidden together, which takes half the masks or less.",
    )
    fill: Fills = Field(
        "black",
        description="What hides: a name from `GET /v1/fills`, or a colour `#rrggbb`; or a list of these, in turns from "
        "block to block, so that the error bars hold what the map owes to the choice.",
    )
    explain: SimilarityTerm = Field(
        "whole", description="`whole`: overlap x class x objectness; `class`: what made it this class; `location`."
    )
    threshold: float = Field(0.3, ge=0, le=1, description="Confidence from which a proposal is a detection.")
    max_targets: int = Field(10, ge=1, le=100, description="Detections explained at most, the most confident first.")
    rescue: bool = Field(True, description="Keep more of the image visible where hardly any masked image matches.")


def fills(parameters: Parameters) -> list[str]:
    """Return the one fill, or those that take turns."""
    return [in_turns(parameters.fill)]


def resolve_targets(
    black_box: Detector,
    outputs: Detections,
    requested: RequestedTargets,
    transform: CoordinateTransform,
    parameters: Parameters,
) -> ResolvedTargets:
    """Return the detections to explain and how proposals become their scores."""
    return resolve_detection_targets(
        black_box,
        outputs,
        requested,
        transform,
        part=parameters.explain,
        threshold=parameters.threshold,
        max_targets=parameters.max_targets,
    )


def relaxation(parameters: Parameters) -> Relaxation | None:
    """Return how much more of the image stays visible for targets that hardly ever match."""
    if not parameters.rescue or parameters.keep >= _RESCUE_KEEP:
        return None
    return Relaxation(_WEAK, _RESCUE_KEEP)


def published_weights(_: Parameters) -> PublishedMap:
    """Return the published weighting, `similarity * mask`, summed over the batch."""

    def weighted(scores: Tensor, masks: Tensor) -> Tensor:
        return torch.einsum("br,bhw->rhw", scores, masks[0]).unsqueeze(1)

    return weighted


def published_scale(parameters: Parameters, masks: int) -> float:
    """Return the factor from the mean over masks to the published map: a sum over all of them."""
    return 1.0 if parameters.estimator == "contrast" else float(masks)
