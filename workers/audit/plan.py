"""The plan of an audit: the explanation again with other fills and with less opacity.

All views have the targets, the states and the shifts of the explanation, so that their maps differ by nothing but what
hides. The first blocks of the explanation's own fill are those that it has computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from PIL import Image

from app.contract.errors import RiseError
from workers.blackbox import BlackBox
from workers.explainer.plan import ExplanationPlan, with_fill

LOW_OPACITY_VIEW = "opacity"
LOW_OPACITY = 0.3
HALF_CELL_MASKS = 128
PROBES = HALF_CELL_MASKS + 97 + 70 + 3 + 1
"""Pictures beyond the blocks, at most: half-cell masks, paths to masked pictures, to natural changes, consistency, and
one whose gradients are taken."""

_OTHER_FILLS = ("black", "grey", "blur", "noise")
_OTHERS = 3
_BLOCKS = 2  # because the covariance of maps is taken between different blocks only


@dataclass(frozen=True)
class AuditPlan:
    """An audit that is ready to run.

    Attributes:
        own: name of the view with the explanation's own fill.
        views: by name: the own fill, three others, and `opacity`; each a plan with as many blocks as are needed.
        black_box: the model.
    """

    own: str
    views: dict[str, ExplanationPlan]
    black_box: BlackBox

    @property
    def explanation(self) -> ExplanationPlan:
        """The own view."""
        return self.views[self.own]

    @property
    def fills(self) -> list[str]:
        """Names of the views that differ in their fill only, the own one first."""
        return [name for name in self.views if name != LOW_OPACITY_VIEW]

    def blocks_of(self, view: str) -> int:
        """Return how many blocks of a view are needed, from block 0 on."""
        return self.views[view].blocks

    def passes(self, available: Mapping[str, int]) -> int:
        """Return how many pictures the model is asked for at most.

        Args:
            available: number of first blocks that are there already, by view.
        """
        missing = (max(0, plan.blocks - available.get(name, 0)) * plan.block_size for name, plan in self.views.items())
        return sum(missing) + PROBES


def audit_plan(plan: ExplanationPlan, black_box: BlackBox, image: Image.Image) -> AuditPlan:
    """Return the plan of the audit of an explanation.

    Args:
        plan: of the explanation.
        black_box: its model.
        image: its image, upright, RGB.

    Raises:
        RiseError: `invalid-parameters` for explanations that have no effects of cells or not one fill.
    """
    _check_auditable(plan)
    own = plan.method.fills(plan.parameters)[0]
    others = [name for name in _OTHER_FILLS if name != own][:_OTHERS]
    views = {own: replace(plan, blocks=_BLOCKS)}
    for name in others:
        views[name] = with_fill(plan, black_box, image, name, opacity=plan.parameters.opacity, blocks=_BLOCKS)
    views[LOW_OPACITY_VIEW] = _in_log_odds(with_fill(plan, black_box, image, "blur", opacity=LOW_OPACITY, blocks=1))
    return AuditPlan(own, views, black_box)


def _check_auditable(plan: ExplanationPlan) -> None:
    if plan.parameters.estimator != "contrast":
        raise RiseError("invalid-parameters", "an audit compares effects of cells, which the published estimator lacks")
    if plan.design.fills > 1 or len(plan.problem.turns) > 1:
        raise RiseError("invalid-parameters", "an audit compares one fill with others: explain with one fill")


def _in_log_odds(plan: ExplanationPlan) -> ExplanationPlan:
    """Return a plan that explains log(p / (1 - p)), where the method knows that score.

    Because what hides little changes a probability near 1 by nothing that can be told from rounding.
    """
    probability = plan.resolved.probability
    if probability is None or "score" not in type(plan.parameters).model_fields:
        return plan
    resolved = replace(plan.resolved, score=lambda outputs: torch.logit(probability(outputs), eps=1e-6))
    parameters = plan.parameters.model_copy(update={"score": "log-odds"})
    problem = replace(plan.problem, score=lambda masked: resolved.score(plan.forward(masked)))
    return replace(plan, resolved=resolved, parameters=parameters, problem=problem)
