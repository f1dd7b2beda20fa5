"""The rows: ours and the field's best on the bundled classifier and on real photographs.

`imagenet` is EfficientNet-Lite0 with twenty photographs of others (`photographs.py`), `shapes` the classifier that
ships with held-out pictures of its own.
"""

import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from PIL import Image

from bench.attributions.comparison import (
    ENOUGH,
    METHODS,
    OURS,
    OWN_TRUTH,
    SAME_TRUTH,
    DefaultRun,
    Quality,
    compare_methods,
    default_run,
    passes_needed,
)
from bench.attributions.maps import ExplainedPicture
from bench.attributions.photographs import photographs
from bench.reference import SUBJECTS, channels_last, pictures
from bench.rows import Row
from bench.stopwatch import seconds_of
from workers.blackbox import Classifier
from workers.demo import shapes
from workers.saliency.estimators import Score

_TIMED_PASSES = 256


@dataclass(frozen=True)
class Subject:
    """A model with pictures.

    Attributes:
        label: what it is called in tables.
        load: loads it.
        pictures: number -> so many pictures by their names.
        layout: see `ExplainedPicture`.
        budgets: numbers of passes at which methods are compared.
        reference: passes of our long run.
        most: median of the passes that the default settings may take to a true correlation of 0.95.
        default_fill: what hides by default.
    """

    label: str
    load: Callable[[], Classifier]
    pictures: Callable[[int], dict[str, Image.Image]]
    layout: Callable[[Score], Score]
    budgets: tuple[int, ...]
    reference: int
    most: int | None
    default_fill: str


def _drawn(count: int) -> dict[str, Image.Image]:
    return {str(number): picture for number, picture in enumerate(pictures(SUBJECTS[0], count))}


def _load_imagenet() -> Classifier:
    from workers.demo import imagenet  # noqa: PLC0415 - needs an extra

    return imagenet.load(torch.device("cpu"))


ATTRIBUTED = (
    Subject("shapes", shapes.load, _drawn, channels_last, (256, 1024), 8192, 256, "black"),
    Subject("imagenet", _load_imagenet, photographs, lambda score: score, (256, 1024), 4096, None, "blur"),
)


def rows(images: int) -> Iterator[Row]:
    """Yield what maps are worth, method by method, for both models."""
    for subject in ATTRIBUTED:
        explained, runs, found = explained_pictures(subject, images), [], []
        with_black: list[DefaultRun] = []
        for number, picture in enumerate(explained):
            runs.append(default_run(picture, reference=subject.reference))
            if subject.default_fill != "black":
                black = replace(picture, default_fill="black")
                with_black.append(default_run(black, reference=subject.reference))
            found.append(compare_methods(picture, subject.budgets, reference=subject.reference))
            sys.stderr.write(f"{picture.name}, {number + 1} of {len(explained)}: {runs[-1]}\n")
        yield from default_rows(subject, runs)
        if with_black:
            yield black_row(subject, runs, with_black)
        yield from needed_rows(subject, found)
        yield from quality_rows(subject, found)
        yield time_row(subject, explained[0])


def explained_pictures(subject: Subject, count: int) -> list[ExplainedPicture]:
    """Return a subject's pictures with its model."""
    model = subject.load()
    return [
        ExplainedPicture(f"{subject.label}-{name}", model, picture, subject.layout, subject.default_fill)
        for name, picture in subject.pictures(count).items()
    ]


def default_rows(subject: Subject, runs: list[DefaultRun]) -> Iterator[Row]:
    """Yield what the default settings take, and what they promise and keep."""
    needed = [float("inf") if run.needed is None else run.needed for run in runs]
    never = sum(run.needed is None for run in runs)
    middle = statistics.median(needed)
    words = f"; {never} never" if never else ""
    yield Row(
        f"RISE on {subject.label}: passes to a true correlation of 0.95 by the default settings",
        f"{middle:,.0f} (median of {len(runs)} pictures; {min(needed):,.0f} to {max(needed):,.0f}{words})",
        "" if subject.most is None else f"<= {subject.most:,}",
        None if subject.most is None else middle <= subject.most,
    )
    qualities = [run.quality for run in runs]
    poor = sum(run.promised >= ENOUGH and run.quality.correlation < 0.93 for run in runs)
    areas = "; ".join(area_words(what, qualities, qualities) for what in ("insertion", "deletion"))
    yield Row(
        f"RISE on {subject.label}: where the default settings end",
        f"{statistics.median(run.stopped for run in runs):,.0f} passes; promised "
        f"{statistics.median(run.promised for run in runs):.3f}, true correlation "
        f"{statistics.median(quality.correlation for quality in qualities):.3f} (medians); {areas}",
    )
    yield Row(
        f"RISE on {subject.label}: promised 0.95 and below 0.93",
        f"{poor} of {len(runs)}",
        "< 1 in 20",
        20 * poor < len(runs),
    )


def black_row(subject: Subject, runs: list[DefaultRun], with_black: list[DefaultRun]) -> Row:
    """Return what the default settings take to a true correlation of 0.95, over what they take where black hides."""
    needed, black = (
        statistics.median(float("inf") if run.needed is None else run.needed for run in each)
        for each in (runs, with_black)
    )
    value = f"{needed / black:.2f} ({needed:,.0f} and {black:,.0f} passes, medians of {len(runs)} pictures)"
    what = f"RISE on {subject.label}: passes to a true correlation of 0.95, by default / where black hides"
    return Row(what, value, "<= 0.5", needed / black <= 0.5)


def needed_rows(subject: Subject, found: list[dict[str, dict[int, Quality]]]) -> Iterator[Row]:
    """Yield what other methods would take to be as near to their own converged maps, from what the most passes give."""
    passes = subject.budgets[-1]
    for name in (*OWN_TRUTH, *SAME_TRUTH):
        needed = [passes_needed(each[name][passes].correlation, passes) for each in found]
        converged = "its own converged map" if name in OWN_TRUTH else "our converged map"
        yield Row(
            f"{subject.label}: passes to a correlation of 0.95 with {converged}, {name}",
            f"{statistics.median(needed):,.0f} (median; from its correlation at {passes:,})",
        )


def quality_rows(subject: Subject, found: list[dict[str, dict[int, Quality]]]) -> Iterator[Row]:
    """Yield correlation, insertion and deletion of each method at each number of passes."""
    for passes in subject.budgets:
        own = [each[OURS][passes] for each in found]
        for name in METHODS:
            theirs = [each[name][passes] for each in found]
            near = statistics.median(quality.correlation for quality in theirs)
            areas = "; ".join(area_words(what, theirs, own) for what in ("insertion", "deletion"))
            yield Row(f"{subject.label}, {passes:,} passes: {name}", f"correlation {near:.3f}; {areas}")


def area_words(what: str, theirs: list[Quality], own: list[Quality]) -> str:
    """Return a mean with its standard error over pictures, and how far it is from ours on the same pictures."""
    values, ours = (np.array([getattr(quality, what) for quality in part]) for part in (theirs, own))
    words = f"{what} {values.mean():.3f} ± {_standard_error(values):.3f}"
    apart = values - ours
    return (
        words
        if theirs is own or not apart.any()
        else f"{words} (ours {-apart.mean():+.3f} ± {_standard_error(apart):.3f})"
    )


def _standard_error(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def time_row(subject: Subject, picture: ExplainedPicture) -> Row:
    """Return how long each method takes for a map, in turn."""
    things = {name: partial(make, picture, _TIMED_PASSES, 1) for name, make in METHODS.items()}
    measured = seconds_of(things, rounds=2, warm_up=())
    words = ", ".join(f"{name} {statistics.median(seconds):.2f} s" for name, seconds in measured.items())
    return Row(f"{subject.label}: time of a map of {_TIMED_PASSES} passes (Sobol: 264)", words)
