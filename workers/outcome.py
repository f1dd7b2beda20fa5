"""What is said about an explanation while it runs and when it has ended, from its study and its convergence."""

from importlib.metadata import version

from app.contract.schemas import Progress, Provenance, State, TargetResult
from workers.blackbox import BlackBox
from workers.convergence import Convergence
from workers.device import describe_device
from workers.study import Study


def finished_targets(study: Study, convergence: Convergence) -> list[TargetResult]:
    """Return the targets with what the blocks so far say about them."""
    unknown: list[float | None] = [None] * len(study.aim.targets)
    reliability = convergence.reliability() or unknown
    rows = zip(study.aim.targets, reliability, convergence.peaks(), convergence.matched(), strict=True)
    return [
        target.model_copy(update={"reliability": reliable, "peak": peak, "matched": matched})
        for target, reliable, peak, matched in rows
    ]


def progress(study: Study, convergence: Convergence, *, masks_per_second: float) -> Progress:
    """Return how far an explanation is."""
    masks, total = (blocks * study.block_size for blocks in (convergence.blocks, study.blocks))
    reliability = convergence.reliability()
    return Progress(
        masks=masks,
        total=total,
        masks_per_second=round(masks_per_second, 1),
        eta_seconds=round((total - masks) / masks_per_second, 1) if masks_per_second > 0 else None,
        reliability=min(reliability) if reliability else None,
    )


def provenance(black_box: BlackBox, study: Study, convergence: Convergence) -> Provenance:
    """Return what it takes to get the same map again."""
    return Provenance(
        version=version("rise-serve"),
        device=describe_device(black_box.device),
        precision=str(black_box.dtype).removeprefix("torch."),
        seed=study.parameters.seed,
        masks_used=convergence.blocks * study.block_size,
        blocks=convergence.blocks,
        stopped="reliable" if convergence.blocks < study.blocks else "all-masks",
    )


def scaled(state: State, study: Study, convergence: Convergence) -> State:
    """Return the state with the factor that the published estimator of the method wants."""
    masks = convergence.blocks * study.block_size
    return state.model_copy(update={"scale": study.method.scale(study.parameters, masks)})
