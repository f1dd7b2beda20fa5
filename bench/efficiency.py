"""How many masks a map needs: contrast against what others compute from independent masks, on the models that ship.

From the same independent masks and scores come three maps: as published (`sum(y m)`), debiased as xaitk-saliency does
(`sum(y (m - p))`, the same but for a constant), and centred per pixel (`cov(y, m) / var(m)`). Each is compared with a
long contrast run with another seed; what counts is the number of masks from which the correlation stays at 0.95, until
twice as many at least. A block is the least that contrast takes, and often passes 0.95 by far; so the published map is
also held to the correlation that contrast has after two blocks, the fewest after which the default settings end.
"""

import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from app.contract.saliency.running_moments import RunningMoments
from bench.reference import BATCH, SUBJECTS, Map, Subject, pen_of, pictures, reference_map, study_of
from bench.rows import Row
from workers.blackbox import BlackBox
from workers.explainer.plan import ExplanationPlan
from workers.saliency.estimators import weights_of_each
from workers.saliency.masks import blend, one_hot_states, render
from workers.saliency.sampling import sample_independently

ENOUGH = 0.95
LEAST = 4096  # masks that every estimator sees, however few it needs
OTHERS = {"published": 30, "debiased": None, "centred": 2}
MOST = {"rise": 256, "drise": 1024}  # masks that contrast may need, by method
LARGE, MOST_OF_LARGE = 3 / 8, 256  # an object whose shorter side spans three of eight cells, and masks that it may need


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        images: pictures.
        reference: masks of the converged map.
        most: masks at most; a map that needs more counts as needing this many.
    """

    images: int
    reference: int
    most: int


@dataclass(frozen=True)
class PictureNeeds:
    """What one picture needs.

    Attributes:
        masks: by estimator.
        two_blocks: masks of two blocks of contrast.
        reached: the correlation of contrast after these.
        published: masks that the published map needs for the same.
        side: of the target's box, the shorter side over the picture's; None of a classifier.
    """

    masks: dict[str, int]
    two_blocks: int
    reached: float
    published: int
    side: float | None


class Needed:
    """From how many masks on the correlation of a growing map with the truth stays at a level."""

    def __init__(self, truth: Map, level: float = ENOUGH) -> None:
        self._truth, self._level = truth, level
        self.masks: int | None = None

    def see(self, masks: int, shown: Map) -> None:
        """Take in the map after so many masks."""
        self.masks = (self.masks or masks) if correlation(shown, self._truth) >= self._level else None

    def settled(self, masks: int) -> bool:
        """Return whether the correlation has stayed up for long enough to believe it."""
        return self.masks is not None and masks >= max(LEAST, 2 * self.masks)


def correlation(one: Map, other: Map) -> float:
    """Return the correlation of two maps; 0 where one of them is flat."""
    spread = one.std() * other.std()
    return float(((one - one.mean()) * (other - other.mean())).mean() / spread) if spread > 0 else 0.0


def contrast_maps(study: ExplanationPlan) -> Iterator[tuple[int, dict[str, Map]]]:
    """Yield the contrast map of the first target after every block, with the masks used."""
    moments, pen, row = RunningMoments(), pen_of(study), study.resolved.target_rows[0]
    for block in study.run():
        moments.add(pen.block(block.effects[row, 0], block.index))
        assert moments.mean is not None
        yield moments.count * study.block_size, {"contrast": moments.mean}


def independent_maps(study: ExplanationPlan, most: int) -> Iterator[tuple[int, dict[str, Map]]]:
    """Yield the maps of the other estimators after every batch."""
    keep, zeros = study.parameters.keep, np.zeros(study.problem.image.shape[1:])
    y, m, ym, mm = 0.0, zeros, zeros, zeros
    for batch in range(-(-most // BATCH)):
        with torch.inference_mode():
            scores, kept = independent_masks(study, batch)
            y += float(scores.double().sum())
            m = m + kept.sum(0).numpy()
            ym = ym + torch.tensordot(scores, kept, 1).numpy()
            mm = mm + kept.square().sum(0).numpy()
        count = (batch + 1) * BATCH
        debiased = ym - keep * y
        centred = (ym - m * (y / count)) / np.maximum(mm - m**2 / count, 1e-9 * count)
        yield count, {"published": ym, "debiased": debiased, "centred": centred}


def independent_masks(study: ExplanationPlan, batch: int) -> tuple[Tensor, Tensor]:
    """Return scores `[B]` and masks `[B, H, W]` of a batch whose cells and shifts are all independent."""
    scene = study.problem
    states, uniform = sample_independently(study.design, 10_000_000 + batch, BATCH)
    hidden = render(one_hot_states(torch.from_numpy(states), 1), *weights_of_each(scene, uniform))
    masked = blend(scene.image, scene.fills - scene.image, hidden, out=scene.image.new_empty(BATCH, *scene.image.shape))
    return scene.score(masked)[:, study.resolved.target_rows[0]].float(), 1 - hidden[0]


def needs(study: ExplanationPlan, truth: Map, most: int) -> tuple[dict[str, int], float, int]:
    """Return the masks that each estimator needs, contrast's correlation after two blocks, and what that takes others.

    Returns:
        Masks by estimator, the correlation, and the masks of the published map for the same correlation.
    """
    own, reached = Needed(truth), 0.0
    for masks, shown in contrast_maps(study):
        own.see(masks, shown["contrast"])
        if masks == 2 * study.block_size:
            reached = correlation(shown["contrast"], truth)
        if own.settled(masks):
            break
    others, same = {name: Needed(truth) for name in OTHERS}, Needed(truth, reached)
    for masks, shown in independent_maps(study, most):
        for name, needed in others.items():
            needed.see(masks, shown[name])
        same.see(masks, shown["published"])
        if all(needed.settled(masks) for needed in (*others.values(), same)):
            break
    found = {"contrast": own, **others}
    return {name: needed.masks or most for name, needed in found.items()}, reached, same.masks or most


def rows(effort: Effort) -> list[Row]:
    """Return masks needed by each estimator over those that contrast needs, for RISE and D-RISE."""
    return [row for subject in SUBJECTS for row in rows_of(subject, effort)]


def rows_of(subject: Subject, effort: Effort) -> list[Row]:
    """Return the rows of one method, and say on standard error how far it is."""
    black_box, needed = subject.load(), []
    for number, picture in enumerate(pictures(subject, effort.images)):
        needed.append(needs_of_picture(subject, black_box, picture, number, effort))
        sys.stderr.write(f"{subject.label}, picture {number + 1} of {effort.images}: {needed[-1]}\n")
    what = f"{subject.label}: masks for a correlation of 0.95 with a {effort.reference:,}-mask map, contrast"
    own = [own_row(what, needed, MOST[subject.method])]
    if large := [each for each in needed if each.side is not None and each.side >= LARGE]:
        own.append(own_row("the same, objects that span three of eight cells", large, MOST_OF_LARGE))
    masks = [each.masks for each in needed]
    return [*own, *(ratio_row(subject, name, masks, effort.most) for name in OTHERS), two_blocks_row(subject, needed)]


def own_row(what: str, needed: list[PictureNeeds], most: int) -> Row:
    """Return the median over pictures of the masks that contrast needs."""
    own = statistics.median(each.masks["contrast"] for each in needed)
    pictures = f"{len(needed)} picture{'s' if len(needed) > 1 else ''}"
    return Row(what, f"{own:.0f} (median of {pictures})", f"<= {most:,}", own <= most)


def needs_of_picture(
    subject: Subject, black_box: BlackBox, picture: Image.Image, number: int, effort: Effort
) -> PictureNeeds:
    """Return the masks that each estimator needs for one picture, against its converged map."""
    study = study_of(subject, black_box, picture, masks=effort.most)
    keep, grid = study.parameters.keep, study.design.grid  # as chosen; a given grid has no tiles of four
    truth = reference_map(subject, black_box, picture, number, masks=effort.reference, keep=keep, grid=grid)
    box = study.resolved.targets[0].box
    side = None if box is None else min(box[2] - box[0], box[3] - box[1]) / min(picture.size)
    masks, reached, published = needs(study, truth, effort.most)
    return PictureNeeds(masks, 2 * study.block_size, reached, published, side)


def ratio_row(subject: Subject, name: str, needed: list[dict[str, int]], most: int) -> Row:
    """Return the median over pictures of what an estimator needs over what contrast needs."""
    ratios = [each[name] / each["contrast"] for each in needed]
    ratio, target = statistics.median(ratios), OTHERS[name]
    capped = [each[name] / each["contrast"] for each in needed if each[name] >= most]
    bound = "at least " if any(of_capped <= ratio for of_capped in capped) else ""
    words = f" ({len(capped)} of {len(needed)} pictures need more than the {most:,} tried)" if capped else ""
    value = f"{bound}{ratio:.1f} times as many{words}"
    met = None if target is None or (bound and ratio < target) else ratio >= target
    return Row(f"{subject.label}: {name} / contrast", value, "" if target is None else f">= {target}", met)


def two_blocks_row(subject: Subject, needed: list[PictureNeeds]) -> Row:
    """Return the median over pictures of what the published map needs for the correlation of two blocks of contrast."""
    ratio, reached, masks = (
        statistics.median(values)
        for values in zip(
            *((each.published / each.two_blocks, each.reached, each.two_blocks) for each in needed), strict=True
        )
    )
    what = f"{subject.label}: published / contrast, for the correlation of two blocks of contrast"
    return Row(
        what, f"{ratio:.1f} times as many (correlation {reached:.3f} after {masks:.0f} masks, medians)", "", None
    )
