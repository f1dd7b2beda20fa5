"""Whether a detector leaves out what it is unsure of: then its score jumps where a box falls below that confidence."""

import torch

from workers.blackbox import Detections
from workers.explainer.plan import ExplanationPlan


def least_confidence(plan: ExplanationPlan) -> float | None:
    """Return the least confidence above 0 among what a detector proposes for the image; one pass.

    None for a model that is no detector, and where it proposes nothing.
    """
    with torch.inference_mode():
        outputs = plan.forward(plan.problem.image[None])
    if not isinstance(outputs, Detections):
        return None
    confidence = (outputs.classes.amax(-1) * outputs.objectness).float()
    told = confidence[confidence > 0]
    return float(told.min()) if told.numel() else None
