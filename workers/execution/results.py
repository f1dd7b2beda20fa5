"""Progress, targets and provenance of an explanation, from its plan and its convergence."""

from functools import cache
from importlib.metadata import version

from app.contract.errors import RiseError
from app.contract.saliency.error_bars import degrees_of_freedom, interval_factor
from app.contract.schemas import Failure, Progress, Provenance, State, TargetResult
from workers.blackbox import BlackBox
from workers.blackbox.device import describe_device
from workers.explainer.convergence import Convergence
from workers.explainer.effect_sentences import describe_finding
from workers.explainer.plan import ExplanationPlan

_FLAT = "hiding parts of the image did not change this score at all: the map is zero everywhere and explains nothing"
WEAK = 0.2  # share of masked images with a match below which a map is mostly noise


def finished_targets(plan: ExplanationPlan, convergence: Convergence) -> list[TargetResult]:
    """Return the targets with what follows from the blocks so far."""
    unknown: list[float | None] = [None] * len(plan.resolved.targets)
    reliability = convergence.reliability() or unknown
    matched = convergence.matched() if plan.resolved.match > 0 else unknown
    of_targets = zip(plan.resolved.targets, reliability, matched, convergence.flat(), strict=True)
    return [
        _finished(plan, convergence, target, reliable, share, is_flat=flat)
        for target, reliable, share, flat in of_targets
    ]


def _finished(
    plan: ExplanationPlan,
    convergence: Convergence,
    target: TargetResult,
    reliability: float | None,
    matched: float | None,
    *,
    is_flat: bool,
) -> TargetResult:
    error = None
    if matched == 0:
        error = Failure(
            code="no-target",
            detail="in none of the masked images did the model propose anything that overlaps this box, "
            "so there is nothing to add up; check the box, or try a milder fill such as blur, or a larger keep",
        )
    return target.model_copy(
        update={
            "reliability": None if error else reliability,
            "peak": None if error else convergence.peak(target.index),
            "matched": matched,
            "warnings": [*plan.warnings, *_warnings(matched), *([_FLAT] if is_flat else [])],
            "findings": _findings(plan, convergence, target),
            "error": error,
        }
    )


def _findings(plan: ExplanationPlan, convergence: Convergence, target: TargetResult) -> list[str]:
    degrees = degrees_of_freedom(convergence.blocks, published=False)
    if plan.parameters.estimator == "paper" or not degrees:
        return []
    effects = convergence.effects(target.index)
    fills = [name.replace(",", " or ") for name in plan.method.fills(plan.parameters)]
    return describe_finding(effects, fills, target.name, factor=interval_factor(degrees))


def _warnings(matched: float | None) -> list[str]:
    if matched is None or matched == 0 or matched >= WEAK:
        return []
    return [f"only {matched:.0%} of the masked images showed anything of this object: trust the map with care"]


def require_any_target(targets: list[TargetResult]) -> None:
    """Check that a result has at least one target with a meaningful map.

    Raises:
        RiseError: `no-target`, with the reason of the first target.
    """
    reasons = [target.error.detail for target in targets if target.error is not None]
    if len(reasons) == len(targets):
        raise RiseError("no-target", reasons[0])


def progress(plan: ExplanationPlan, convergence: Convergence, *, masks_per_second: float) -> Progress:
    """Return the progress of an explanation."""
    masks, total = (blocks * plan.block_size for blocks in (convergence.blocks, plan.blocks))
    reliability = convergence.reliability()
    return Progress(
        masks=masks,
        total=total,
        masks_per_second=round(masks_per_second, 1),
        eta_seconds=round((total - masks) / masks_per_second, 1) if masks_per_second > 0 else None,
        reliability=min(reliability) if reliability else None,
    )


def provenance(
    black_box: BlackBox, plan: ExplanationPlan, convergence: Convergence, *, workers: int = 1, evidence_passes: int = 0
) -> Provenance:
    """Return what is needed to reproduce the map."""
    return Provenance(
        version=_version(),
        device=describe_device(black_box.device),
        precision=str(black_box.dtype).removeprefix("torch."),
        seed=plan.parameters.seed,
        masks_used=convergence.blocks * plan.block_size,
        blocks=convergence.blocks,
        grid=plan.design.grid,
        tiles=plan.design.tiling.count,
        degrees_of_freedom=degrees_of_freedom(convergence.blocks, published=plan.parameters.estimator == "paper"),
        workers=workers,
        evidence_passes=evidence_passes,
        stopped="reliable" if convergence.blocks < plan.blocks else "all-masks",
    )


@cache
def _version() -> str:
    return version("rise-serve")  # because it reads the package's metadata: a millisecond


def with_scale(state: State, plan: ExplanationPlan, convergence: Convergence) -> State:
    """Return the state with the factor of the method's published estimator."""
    masks = convergence.blocks * plan.block_size
    return state.model_copy(update={"scale": plan.method.published_scale(plan.parameters, masks)})
