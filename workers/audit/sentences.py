"""What the checks of an audit say, in words; all thresholds are here, with what was measured.

Medians, where not said otherwise, of `clever-hans` and `shapes`, which saw masks in training, of a copy of `shapes`
that did not, and of EfficientNet-Lite0 with ImageNet weights, which did not either.
"""

import math
from collections.abc import Sequence

from app.contract.schemas import AuditVerdict
from workers.audit.discontinuity import Jumps, chance_of_as_many
from workers.audit.plan import LOW_OPACITY
from workers.audit.view_maps import AlikeClass, FillComparison, GradCamComparison, LowOpacityView

LIMITS = "A model that reacts smoothly to masks passes these checks."

HARDLY_DEPENDS = 0.1
DEPENDS_AS_MUCH = 0.4
"""Fill dependence: .01, .18 (.03 to .28), .36 (.18 to .86), .69 (.34 to .86)."""

SMALL_ENOUGH = 0.8
"""R2 of the map on masks of half the cell: .65, .20, .04, .06; from here on finer cells would show little more."""

LEAST_VARIANCE = 0.05
"""Variance under finer masks over that under the map's own, from which there is something to predict."""

MUCH_ALIKE = 0.7
"""Correlation with the map of another likely class: missile and projectile .93, daisy and bee .85, palace and bell cote
.15. From two blocks it is right to .05 (rms; imagenet, blur, four photographs, beside sixteen blocks)."""

JUMP = 0.3
"""Change of log-odds within 1/4,096 of a path; what was measured is in `bench/RESULTS.md`, "Alarms of the audit"."""

BY_CHANCE = 0.2
"""Level of the test that masks make a model jump more often than natural changes, where both do: detectors that tell
nothing below a threshold have .39 and more, gates on masks that natural changes open, too, at most .2."""

SCORE_THRESHOLD = 0.02
"""Least confidence of proposals from which others have been left out: exports do so below .05 to .5; of detectors that
tell all it is .0012 to .0026."""

SAME_ANSWER_TO_ANOTHER_PIXEL = 0.01
"""Difference of the answer when one pixel changes by a level of 255: honest models at most .00097 (imagenet, 100
pictures); to exact copies the threshold is that of the evidence, 1e-3, and honest models differ by 1e-6."""

_SEVERITY: Sequence[AuditVerdict] = ("nothing-found", "caution", "alarm")


def worst(verdicts: Sequence[AuditVerdict]) -> AuditVerdict:
    """Return the worst of some verdicts."""
    return max(verdicts, key=_SEVERITY.index, default="nothing-found")


def about_fills(value: float | None, pairs: Sequence[FillComparison], own: str) -> tuple[AuditVerdict, str]:
    """Return verdict and sentence on how much a map depends on the fill.

    Args:
        value: 0..1; None where maps are mostly noise.
        pairs: of fills.
        own: the explanation's fill.
    """
    if value is None:
        return "nothing-found", "The maps of two blocks are mostly noise, so nothing can be said about what hides."
    least = min((pair for pair in pairs if own in pair.fills), key=lambda pair: _or(pair.correlation, 0.0))
    other = next(name for name in least.fills if name != own)
    share = "not defined" if least.correlation is None else f"{least.correlation:.2f}"
    moved = f"the peak moves by {least.peak_moved:.1f} cells"
    beside = f"; with {other} instead of {own} the correlation is {share}, and {moved}"
    if value < HARDLY_DEPENDS:
        return "nothing-found", f"The map hardly depends on what hides ({value:.0%} of it does)."
    if value <= DEPENDS_AS_MUCH:
        return "nothing-found", f"The map depends on what hides: {value:.0%} of it does{beside}."
    return "caution", f"The map is as much about what hides as about the image: {value:.0%} depends on it{beside}."


def about_low_opacity(view: LowOpacityView, size: int) -> tuple[AuditVerdict, str]:
    """Return verdict and sentence on the map of masks that hide little: a second view, never an alarm.

    Honest models differ, too (imagenet: correlations of -.02 to .73), so no threshold is drawn.

    Args:
        view: of one target.
        size: cells along the longer side.
    """
    masks = (
        f"Masks that hide only {LOW_OPACITY:.0%} put the strongest place at ({view.peak[0]:.0f}, {view.peak[1]:.0f})"
    )
    if view.correlation is None:
        return "nothing-found", "Masks that hide only a part change nothing that can be told from rounding."
    where = (
        "where the map has its own"
        if view.peak_moved <= 1
        else f"{view.peak_moved:.1f} of {size} cells from the map's own"
    )
    return "nothing-found", (
        f"{masks}, {where} (correlation {view.correlation:.2f}). A model that notices masks notices these less: "
        "where the two differ, look at both."
    )


def about_alike_class(found: AlikeClass | None, name: str | None) -> tuple[AuditVerdict, str]:
    """Return verdict and sentence on how much a map is that of its class alone; no verdict but `nothing-found`.

    Because two classes may well be seen in the same place.

    Args:
        found: of one target.
        name: of its class.
    """
    if found is None:
        return "nothing-found", "No other class is likely enough for its map to be compared."
    other = f"{found.name!r} ({found.probability:.2g})"
    if found.correlation < MUCH_ALIKE:
        return "nothing-found", (
            f"The map is that of {name!r}: among the likely classes {other} has the one that is most like it, with a "
            f"correlation of {found.correlation:.2f}."
        )
    return "nothing-found", (
        f"The map is not that of {name!r} alone: that of {other} is much the same (correlation "
        f"{found.correlation:.2f}). It shows what speaks for both, and not what tells one from the other."
    )


def about_grad_cam(found: GradCamComparison, size: int) -> tuple[AuditVerdict, str]:
    """Return verdict and sentence on Grad-CAM: a second view, never an alarm, because either may be right.

    Args:
        found: of one target.
        size: cells along the longer side.
    """
    if found.correlation is None:
        return "nothing-found", "Grad-CAM finds nothing that speaks for it, so there is nothing to compare."
    away = f"{found.peak_moved:.1f} of {size} cells away from the map's"
    where = "where the map has its own" if found.peak_moved <= 1 else away
    return "nothing-found", (
        f"Grad-CAM, which reads gradients and hides nothing, has its strongest place {where} "
        f"(correlation {found.correlation:.2f}). It is coarser, and right no more often: where the two differ, look "
        "at both."
    )


def without_grad_cam(reason: str) -> str:
    """Return the sentence on a model of which there is no Grad-CAM."""
    return f"The map was not compared with Grad-CAM, which needs a PyTorch classifier with convolutions: {reason}."


def about_resolution(r2: float, variance: float) -> tuple[AuditVerdict, str]:
    """Return verdict and sentence on how well the map predicts masks of half the cell; no verdict but `nothing-found`.

    Because no rule for choosing a grid follows from it: networks that saw no masks have .04 and .06 on good maps.

    Args:
        r2: of the prediction; NaN where there is nothing to predict.
        variance: under finer masks, over that under the map's own.
    """
    if math.isnan(r2) or variance < LEAST_VARIANCE:
        return "nothing-found", "Masks of half the cell hardly change the score, so they say nothing about the grid."
    explained = f"the map predicts {max(r2, 0):.0%} of how the score varies under masks of half the cell"
    if r2 > SMALL_ENOUGH:
        return "nothing-found", f"The cells are small enough: {explained}."
    return "nothing-found", (
        f"The map is no finer than its cells: {explained}; the rest is detail within cells, or regions that act "
        "together."
    )


def about_jumps(
    masked: Jumps, natural: Jumps | None, least_confidence: float | None = None
) -> tuple[AuditVerdict, str]:
    """Return verdict and sentence on jumps of the score.

    Args:
        masked: on paths to masked images.
        natural: on paths to natural changes; None where they were not asked for.
        least_confidence: least confidence among what a detector proposes; None for other models.
    """
    if natural is None or masked.largest <= JUMP:
        return "nothing-found", "The score changes smoothly as masks fade in: no threshold on masks was found."
    jumps = f"by a factor of {_factor(masked.largest)} in the odds of a class"
    (of_masked, _), (of_natural, moving) = masked.above(JUMP), natural.above(JUMP)
    if least_confidence is not None and least_confidence >= SCORE_THRESHOLD:
        return "caution", (
            f"The score jumps as a mask fades in, {jumps}, but this detector proposes nothing of which it is less sure "
            f"than {least_confidence:.2g}: its scores jump by nature, and whether it reacts to masks cannot be judged. "
            "Serve it with all its proposals."
        )
    if not moving:
        return "caution", (
            f"The score jumps as a mask fades in, {jumps}, but no natural change of this image moves it: whether it "
            "would jump there, too, cannot be judged."
        )
    if of_natural and chance_of_as_many((of_masked, len(masked.sizes)), (of_natural, moving)) > BY_CHANCE:
        return "caution", (
            f"The score of this model jumps where nothing is masked, too ({jumps} as a mask fades in, "
            f"{_factor(natural.largest)} otherwise): the model is discontinuous by nature, and whether it reacts "
            "to masks cannot be judged so."
        )
    seldom = (
        f"as {of_masked} of {len(masked.sizes)} masks fade in, {jumps}, and in {of_natural} of {moving} natural changes"
    )
    return "alarm", (
        f"The score jumps {seldom}: the model reacts to the mask itself, so this map may say nothing about other "
        "images."
    )


def about_consistency(consistency: float, *, is_same: bool) -> tuple[AuditVerdict, str]:
    """Return verdict and sentence on whether one image gets one answer."""
    if is_same:
        return "nothing-found", "The model gives this image the same answer before, among and after masked ones."
    return "alarm", (
        f"The model's answers to this same image differ by {consistency:.2g}: it does not only look at the image, so "
        "its scores, and this map, need not be those of other calls."
    )


def _factor(log_odds: float) -> str:
    """Return a change of log-odds as a factor of odds, with two digits: 1.6, 1,800."""
    rounded = float(f"{math.exp(log_odds):.2g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
