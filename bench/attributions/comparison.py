"""What a map is worth: how near it is to the converged map of its own method, and insertion and deletion.

The correlation with the converged map is corrected for the noise of the long run that stands in for it (Spearman 1904):
it is the correlation with the long run over that of the long run with the truth. For ours the latter is the reliability
that the spread of the long run's blocks tells. RISE as published and xaitk-saliency converge to the same map up to a
factor, so they are held against ours. HSIC and Sobol converge elsewhere, each to its own map, and what two runs of
theirs with different seeds have in common tells how near each is to it.
"""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from app.contract.saliency.running_moments import RunningMoments
from bench.attributions.maps import ExplainedPicture, MakeMap, contrast_map, hsic, published_map, sobol, xaitk_map
from bench.reference import STORE, Map, pen_of
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan
from workers.saliency.metrics import perturbation_curve, rank_pixels

ENOUGH = 0.95
OURS = "rise-serve"
SAME_TRUTH: dict[str, MakeMap] = {"RISE as published": published_map, "xaitk-saliency": xaitk_map}
OWN_TRUTH: dict[str, MakeMap] = {"HSIC": hsic, "Sobol": sobol}
METHODS: dict[str, MakeMap] = {OURS: contrast_map, **OWN_TRUTH, **SAME_TRUTH}
_LONG_RUN_SEED = 5  # which no run that is held against it has
_OF_A_DESIGN = {"grid", "keep", "estimator", "shrink", "canvas", "seed", "fill", "score"}
_STEPS = 24  # of insertion and deletion
_STAYS = 4  # blocks in a row for which the correlation stays up until it is believed


@dataclass(frozen=True)
class LongRun:
    """A map that stands in for the converged one.

    Attributes:
        map: on the canvas.
        reliability: its own correlation with the converged map.
    """

    map: Map
    reliability: float

    def correlation(self, other: Map) -> float:
        """Return the correlation of another map with the converged one, free of this one's noise."""
        return min(1.0, correlation(self.map, other) / self.reliability)


@dataclass(frozen=True)
class Quality:
    """What one map is worth.

    Attributes:
        correlation: with the converged map of its own method.
        insertion: area under the score while pixels return to a blurred picture.
        deletion: area under the score while pixels turn black.
    """

    correlation: float
    insertion: float
    deletion: float


@dataclass(frozen=True)
class DefaultRun:
    """An explanation by the default settings, held against its own converged map.

    Attributes:
        stopped: passes after which it ends by itself.
        promised: the reliability that it tells then.
        quality: of the map then.
        needed: passes from which on the correlation stays at 0.95; None where all that are allowed do not suffice.
    """

    stopped: int
    promised: float
    quality: Quality
    needed: int | None


def compare_methods(
    picture: ExplainedPicture, budgets: tuple[int, ...], *, reference: int
) -> dict[str, dict[int, Quality]]:
    """Return what all methods' maps of one picture are worth, by method and number of passes.

    Maps are read from the disk once they are made.

    Args:
        picture: with its model.
        budgets: numbers of passes.
        reference: passes of our long run.
    """
    truth, areas = long_run(picture.equal_plan, reference, picture.name), perturbation_areas(picture)
    ours = f"rise-serve-{design_fingerprint(picture.equal_plan())}"
    found: dict[str, dict[int, Quality]] = {}
    for name, make in METHODS.items():
        maps = {passes: stored_map(ours if name == OURS else name, make, picture, passes) for passes in budgets}
        near = {passes: truth.correlation(shown) for passes, shown in maps.items()}
        if name in OWN_TRUTH:
            near = own_correlations(maps)
        found[name] = {passes: Quality(near[passes], *areas(shown)) for passes, shown in maps.items()}
    return found


def long_run(plan_of: Callable[..., ExplanationPlan], passes: int, name: str) -> LongRun:
    """Return a map of ours of many passes, with a seed that nothing else uses; its effects are kept on the disk.

    Args:
        plan_of: parameters -> the plan.
        passes: of the run.
        name: of model and picture.
    """
    plan = plan_of(until=1, masks=passes, seed=_LONG_RUN_SEED)
    path = STORE / "attributions" / f"{name}-{design_fingerprint(plan)}-{passes}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        row = plan.resolved.target_rows[0]
        np.save(path, np.stack([block.effects[row, 0] for block in plan.run()]))
    pen, moments = pen_of(plan), RunningMoments()
    for index, effects in enumerate(np.load(path)):
        moments.add(pen.block(effects, index)[None])
    reliability = moments.reliability()
    assert moments.mean is not None
    assert reliability is not None
    return LongRun(moments.mean[0], reliability[0])


def design_fingerprint(plan: ExplanationPlan) -> str:
    """Return what tells two designs of masks apart, so that no long run outlives the estimator that it is of."""
    digest = hashlib.sha256(plan.parameters.model_dump_json(include=_OF_A_DESIGN).encode())
    for block in range(3):
        digest.update(plan.design.sample(block).tobytes())
        digest.update(repr(plan.problem.canvas.shift(block)).encode())
    return digest.hexdigest()[:10]


def default_run(picture: ExplainedPicture, *, reference: int) -> DefaultRun:
    """Return how an explanation by the default settings fares, from the disk where it was measured before.

    It goes on after it would have ended, until it has been near enough for some blocks.

    Args:
        picture: with its model.
        reference: passes of the long run by the same settings.
    """
    plan, truth = picture.plan(), long_run(picture.plan, reference, picture.name)
    path = STORE / "attributions" / f"{picture.name}-{design_fingerprint(plan)}-default.json"
    if not path.exists():
        path.write_text(json.dumps(asdict(_default_run(picture, plan, truth))))
    stored = json.loads(path.read_text())
    return DefaultRun(**stored | {"quality": Quality(**stored["quality"])})


def _default_run(picture: ExplainedPicture, plan: ExplanationPlan, truth: LongRun) -> DefaultRun:
    convergence, moments, pen, row = Convergence(plan), RunningMoments(), pen_of(plan), plan.resolved.target_rows[0]
    correlations: list[float] = []
    ended: tuple[int, float, Quality] | None = None
    for block in plan.run():
        convergence.add(block)
        moments.add(pen.block(block.effects[row, 0], block.index)[None])
        assert moments.mean is not None
        correlations.append(truth.correlation(moments.mean[0]))
        if ended is None and (convergence.reached() or moments.count == plan.blocks):
            quality = Quality(correlations[-1], *perturbation_areas(picture)(moments.mean[0]))
            ended = moments.count * plan.block_size, (convergence.reliability() or [0.0])[0], quality
        if ended is not None and len(correlations) >= _STAYS and min(correlations[-_STAYS:]) >= ENOUGH:
            break
    assert ended is not None
    blocks = settled_from(correlations)
    return DefaultRun(*ended, None if blocks is None else blocks * plan.block_size)


def settled_from(correlations: list[float]) -> int | None:
    """Return from how many blocks on the correlation stays at 0.95; None if it ends below."""
    below = [number for number, value in enumerate(correlations, start=1) if value < ENOUGH]
    first = max(below, default=0) + 1
    return None if first > len(correlations) else first


def own_correlations(maps: dict[int, Map]) -> dict[int, float]:
    """Return the correlation of each map with the converged map of its method, from the fewest and the most passes.

    With noise over signal f / passes, independent runs of a and b passes correlate by 1 / sqrt((1 + f/a) (1 + f/b)),
    which tells f, and a run of n passes and the truth by 1 / sqrt(1 + f/n).
    """
    few, many = min(maps), max(maps)
    agreement = min(max(correlation(maps[few], maps[many]), 1e-3), 1 - 1e-9)
    middle = (few + many) / 2
    noise = math.sqrt(middle**2 + few * many * (agreement**-2 - 1)) - middle
    return {passes: 1 / math.sqrt(1 + noise / passes) for passes in maps}


def passes_needed(correlation: float, passes: int) -> float:
    """Return the passes for a correlation of 0.95 from what some passes give: noise over signal falls as 1 / passes."""
    reached = min(max(correlation, 1e-3), 1 - 1e-9) ** 2
    return passes * (1 - reached) / reached * ENOUGH**2 / (1 - ENOUGH**2)


def correlation(one: Map, other: Map) -> float:
    """Return Pearson's correlation of two maps, 0 where one of them is flat."""
    if not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def stored_map(name: str, make: MakeMap, picture: ExplainedPicture, passes: int) -> Map:
    """Return the map of another method, from the disk where it was made before."""
    path = STORE / "attributions" / f"{picture.name}-{name.replace(' ', '-')}-{passes}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each number of passes has a seed of its own, because points of Sobol' with one seed begin alike.
        np.save(path, make(picture, passes, passes).astype(np.float32))
    stored: NDArray[np.float32] = np.load(path)
    return stored.astype(np.float64)


def perturbation_areas(picture: ExplainedPicture) -> Callable[[Map], tuple[float, float]]:
    """Return what measures insertion and deletion of a map (Petsiuk et al. 2018, section 4.2), once for each map."""
    score, problem = picture.score(), picture.equal_plan().problem
    black, blurred = (picture.plan(fill=fill).problem.fills[0] for fill in ("black", "blur"))

    def areas(shown: Map) -> tuple[float, float]:
        digest = hashlib.sha256(shown.astype(np.float32).tobytes()).hexdigest()[:16]
        path = STORE / "attributions" / f"{picture.name}-{digest}.json"
        if not path.exists():
            order = rank_pixels(shown.astype(np.float32), seed=0)
            ends = ((blurred, problem.image), (problem.image, black))
            curves = [
                perturbation_curve(score, start, end, order, steps=_STEPS, batch=problem.batch) for start, end in ends
            ]
            path.write_text(json.dumps([curve.area for curve in curves]))
        insertion, deletion = json.loads(path.read_text())
        return insertion, deletion

    return areas
