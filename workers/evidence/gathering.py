"""The evidence of a finished explanation, from its blocks and from a few more pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from app.contract.schemas import Evidence, ExplanationRecord, TargetResult
from workers.evidence.probes import MOST_TARGETS, ProbeResult, probe
from workers.evidence.sentences import describe, describe_consistency, is_consistent
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan
from workers.saliency.block_statistics import BlockStatistics

_LEFT_OUT = f"The least relevant regions were hidden for the first {MOST_TARGETS} targets only."


@dataclass(frozen=True)
class GatheredEvidence:
    """The evidence of all targets.

    Attributes:
        of_targets: of each target; None where it has no map that means anything.
        consistency: of the model's answers to one and the same image.
        passes: pictures that the model was asked for.
    """

    of_targets: Sequence[Evidence | None]
    consistency: float | None
    passes: int

    def added_to(self, targets: Sequence[TargetResult]) -> list[TargetResult]:
        """Return targets with their evidence."""
        return [
            target.model_copy(update={"evidence": None if target.error else evidence})
            for target, evidence in zip(targets, self.of_targets, strict=True)
        ]


def gather(plan: ExplanationPlan, convergence: Convergence) -> GatheredEvidence | None:
    """Ask the model for a few more pictures, and return the evidence; None where none is wanted.

    Args:
        plan: of the explanation.
        convergence: with all of its blocks.
    """
    statistics = convergence.statistics
    if statistics is None or not plan.gathers_evidence:
        return None
    found = probe(plan, statistics.relevance())
    return GatheredEvidence(_of_targets(plan, statistics, found), found.consistency, found.passes)


def earlier_evidence(plan: ExplanationPlan, other: ExplanationRecord, *, blocks: int) -> GatheredEvidence | None:
    """Return the evidence of another explanation of the same targets; None where its map is of other blocks.

    Args:
        plan: of the explanation for which it would serve.
        other: a finished one, whose first blocks are the same.
        blocks: number of blocks of the map.
    """
    has_evidence = any(target.evidence for target in other.targets)
    if not plan.gathers_evidence or not has_evidence or other.state is None or other.state.blocks != blocks:
        return None
    return GatheredEvidence([target.evidence for target in other.targets], other.consistency, passes=0)


def _of_targets(plan: ExplanationPlan, statistics: BlockStatistics, found: ProbeResult) -> list[Evidence]:
    dtype = plan.problem.image.dtype
    is_same = is_consistent(found.consistency, found.noise, rounding=torch.finfo(dtype).eps)
    about_model = describe_consistency(found.consistency, is_same=is_same)
    figures = zip(
        plan.resolved.targets,
        statistics.fidelity(),
        statistics.interaction_share(),
        found.least_relevant_first,
        found.fill_scores,
        strict=True,
    )
    evidence = []
    for target, fidelity, share, least_relevant, fill in figures:
        numbers = Evidence(
            fidelity=fidelity, interaction_share=share, least_relevant_first=least_relevant, fill_score=fill
        )
        sentences = describe(
            numbers,
            target.name,
            plan.method.fills(plan.parameters)[0].split(",")[0],
            score=found.scores[target.index],
            cells=plan.design.cells,
        )
        left_out = [_LEFT_OUT] if fill is not None and least_relevant is None else []
        evidence.append(numbers.model_copy(update={"sentences": [*sentences, *left_out, about_model]}))
    return evidence
