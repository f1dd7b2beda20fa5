"""Asks the model the rest, and says what was found.

Everything is a pure function of the plan, the blocks and the model's answers, so an audit that is run again asks for
the same pictures.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from app.contract.schemas import AuditCheck, AuditResult, AuditVerdict, JsonObject
from workers.audit import sentences
from workers.audit.asking import Answers, PictureAsker
from workers.audit.consistency import RepeatedAnswers, ask_again
from workers.audit.discontinuity import Jumps, find_jumps
from workers.audit.paths import masked_paths, natural_paths
from workers.audit.plan import AuditPlan
from workers.audit.resolution import half_cell_fit
from workers.audit.score_threshold import least_confidence
from workers.audit.view_maps import ViewMaps
from workers.audit.white_box import GradCam
from workers.blackbox import Detector
from workers.saliency.estimators import Block


def conclude(
    plan: AuditPlan,
    blocks: Mapping[str, Sequence[Block]],
    grad_cam: GradCam,
    *,
    earlier_consistency: float | None = None,
    asked: Callable[[int], None] = lambda _: None,
) -> AuditResult:
    """Return what the audit found.

    Args:
        plan: of the audit.
        blocks: of each view, the first ones, as many as the plan says.
        grad_cam: of the plan.
        earlier_consistency: what the explanation's evidence found: a model with a memory may answer all of an audit in
            the same way when it has seen the masks before.
        asked: called after each batch with the number of pictures so far; what it raises ends the audit.

    Returns:
        The result; its passes are pictures asked here and the one of Grad-CAM, without those of blocks.

    Raises:
        RiseError: `model-failed` where the model gives no finite scores.
    """
    with torch.inference_mode():
        asker = PictureAsker(plan.explanation, asked)
        asker.count(0 if grad_cam.maps is None else 1)
        own = list(blocks[plan.own][: plan.blocks_of(plan.own)])
        maps = ViewMaps(plan, blocks)
        masked, among, natural = _jumps(plan, asker)
        confidence = None if natural is None else _least_confidence(plan, asker)
        checks = [
            _fill_dependence(plan, maps),
            _low_opacity(plan, maps),
            _resolution(plan, own, asker),
            _class_specificity(plan, maps),
            _white_box(plan, maps, grad_cam),
            _discontinuity(masked, natural, confidence),
            _consistency(
                ask_again(plan.explanation, asker, among),
                earlier_consistency,
                with_varied=natural is None or natural.largest_beyond_start <= sentences.JUMP,
            ),
        ]
    verdict = sentences.worst([check.verdict for check in checks])
    return AuditResult(verdict=verdict, passes=asker.passes, checks=checks, limits=sentences.LIMITS)


def _fill_dependence(plan: AuditPlan, maps: ViewMaps) -> AuditCheck:
    found = [maps.fill_dependence(target) for target in _targets(plan)]
    told = [sentences.about_fills(each.value, each.pairs, plan.own) for each in found]
    values = [each.value for each in found]
    pairs = [
        [
            {
                "fills": list(pair.fills),
                "correlation": _rounded(pair.correlation),
                "peak_moved_cells": _rounded(pair.peak_moved),
                "top_tenth_overlap": _rounded(pair.overlap),
            }
            for pair in each.pairs
        ]
        for each in found
    ]
    return _check("fill-dependence", values, told, [{"pairs": each} for each in pairs], worst=max)


def _low_opacity(plan: AuditPlan, maps: ViewMaps) -> AuditCheck:
    views = [maps.low_opacity(target) for target in _targets(plan)]
    size = max(plan.explanation.problem.canvas.grid)
    details = [{"peak": list(view.peak), "peak_moved_cells": _rounded(view.peak_moved)} for view in views]
    told = [sentences.about_low_opacity(view, size) for view in views]
    return _check("low-opacity", [view.correlation for view in views], told, details, worst=min)


def _resolution(plan: AuditPlan, own: list[Block], asker: PictureAsker) -> AuditCheck:
    found = half_cell_fit(plan.explanation, own, asker)
    values, told, details = [], [], []
    for r2, variance in zip(found.r2.tolist(), found.variance.tolist(), strict=True):
        is_told = math.isfinite(r2) and not variance < sentences.LEAST_VARIANCE
        values.append(r2 if is_told else None)
        told.append(sentences.about_resolution(r2, variance))
        details.append({"variance_share": _rounded(variance)})
    return _check("resolution", values, told, details, worst=min)


def _class_specificity(plan: AuditPlan, maps: ViewMaps) -> AuditCheck:
    found = [maps.most_alike_class(target) for target in _targets(plan)]
    told = [
        sentences.about_alike_class(each, target.name)
        for each, target in zip(found, plan.explanation.resolved.targets, strict=True)
    ]
    details: list[JsonObject] = [
        {"class": each and {"label": each.label, "name": each.name, "probability": _rounded(each.probability)}}
        for each in found
    ]
    values = [None if each is None else each.correlation for each in found]
    return _check("class-specificity", values, told, details, worst=max)


def _white_box(plan: AuditPlan, maps: ViewMaps, grad_cam: GradCam) -> AuditCheck:
    if grad_cam.maps is None:
        sentence = sentences.without_grad_cam(grad_cam.reason)
        return AuditCheck(check="white-box", verdict="nothing-found", sentence=sentence)
    compared = [maps.grad_cam(target, grad_cam.maps[target]) for target in _targets(plan)]
    size = max(plan.explanation.problem.canvas.grid)
    told = [sentences.about_grad_cam(each, size) for each in compared]
    details = [{"peak_moved_cells": _rounded(each.peak_moved)} for each in compared]
    return _check("white-box", [each.correlation for each in compared], told, details, worst=min)


def _jumps(plan: AuditPlan, asker: PictureAsker) -> tuple[Jumps, Answers, Jumps | None]:
    """Return jumps towards masks, the answer `[R]` to the image among masked ones, and jumps towards natural changes.

    The latter are asked for only where there are jumps to explain.
    """
    image = plan.explanation.problem.image
    masked, among = find_jumps(asker, image, masked_paths(plan.explanation), None, twice=True)
    if masked.largest <= sentences.JUMP:
        return masked, among, None
    return masked, among, find_jumps(asker, image, natural_paths(image), among, twice=False)[0]


def _least_confidence(plan: AuditPlan, asker: PictureAsker) -> float | None:
    if not isinstance(plan.black_box, Detector):
        return None
    asker.count(1)
    return least_confidence(plan.explanation)


def _discontinuity(masked: Jumps, natural: Jumps | None, least_confidence: float | None) -> AuditCheck:
    told = sentences.about_jumps(masked, natural, least_confidence)
    details: JsonObject = {
        "masked": [_rounded(jump) for jump in masked.sizes.tolist()],
        "opacity": [_rounded(place) for place in masked.places.tolist()],
        "natural": None if natural is None else [_rounded(jump) for jump in natural.sizes.tolist()],
        "targets": [{"index": index, "value": _rounded(jump)} for index, jump in enumerate(masked.of_targets.tolist())],
    }
    return AuditCheck(
        check="discontinuity", verdict=told[0], value=_rounded(masked.largest), sentence=told[1], details=details
    )


def _consistency(found: RepeatedAnswers, earlier: float | None, *, with_varied: bool) -> AuditCheck:
    """Return the check of repeated answers.

    Args:
        found: differences of these.
        earlier: what the explanation's evidence found.
        with_varied: whether the copy that is not exact counts; not of models that are discontinuous by nature.
    """
    counts = with_varied and float(found.varied.max()) > sentences.SAME_ANSWER_TO_ANOTHER_PIXEL
    of_targets = np.maximum(found.repeated, found.varied) if counts else found.repeated
    value = max(float(of_targets.max()), earlier or 0.0)
    is_same = not counts and found.is_same(value)
    verdict, sentence = sentences.about_consistency(value, is_same=is_same)
    details: JsonObject = {
        "among_masked": _tiny(found.among.max()),
        "again": _tiny(found.again.max()),
        "one_pixel_changed": _tiny(found.varied.max()),
        "identical_calls": _tiny(found.noise.max()),
        "during_explanation": earlier,
        "targets": [{"index": index, "value": _tiny(each)} for index, each in enumerate(of_targets.tolist())],
    }
    return AuditCheck(check="consistency", verdict=verdict, value=_tiny(value), sentence=sentence, details=details)


def _check(
    name: str,
    values: Sequence[float | None],
    told: Sequence[tuple[AuditVerdict, str]],
    details: Sequence[JsonObject],
    *,
    worst: Callable[..., int],
) -> AuditCheck:
    """Return a check of several targets, with value and sentence of the worst one among those that have a value."""
    known = [index for index, value in enumerate(values) if value is not None]
    chosen = worst(known, key=lambda index: values[index]) if known else 0
    of_targets = [
        {"index": index, "value": _rounded(value), "sentence": sentence, **more}
        for index, (value, (_, sentence), more) in enumerate(zip(values, told, details, strict=True))
    ]
    return AuditCheck(
        check=name,
        verdict=sentences.worst([verdict for verdict, _ in told]),
        value=_rounded(values[chosen]),
        sentence=told[chosen][1],
        details={"targets": of_targets},
    )


def _targets(plan: AuditPlan) -> range:
    return range(len(plan.explanation.resolved.targets))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)


def _tiny(value: float) -> float:
    return float(f"{float(value):.3g}")
