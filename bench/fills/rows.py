"""The table: what each fill is worth, on each network.

- **kept**: mean score under masks over the score of the picture.
- **block with block**: correlation of the maps of two blocks; more of it means fewer masks.
- **fidelity**, **interactions**: as in the evidence of a map (`workers/saliency/block_statistics.py`), from two blocks.
- **gain**: the score that is left with the least important cells hidden minus that with the most important ones, over
  the score of the picture; mean over shares of cells and over the fills of `JUDGES`, which are the same for all maps
  (symmetric relevance gain: Bluecher, Vielhaben, Strodthoff, TMLR 2024).
- **with other fills**: correlation with the map of another fill, without the noise of blocks, mean over `FEW_FILLS`.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields

import numpy as np
from numpy.typing import NDArray

from bench.fills.hiding import FEW_FILLS, FILLS
from bench.fills.measurements import BLOCKS, Answers, answers
from bench.fills.networks import Subject, subjects
from bench.rows import Row
from workers.audit.sentences import MUCH_ALIKE
from workers.audit.view_maps import covariance_between_blocks

Numbers = NDArray[np.float64]

_RESAMPLES = 2_000
_BY_DEFAULT = "blur"
_LEAST = 0.05  # correlation of two blocks, below which all is noise
_LIKELY, _LEAST_PROBABILITY = 5, 0.01


@dataclass(frozen=True)
class Worth:
    """What one fill is worth on one picture; the figures of the module's docstring, NaN where they are not defined."""

    kept: float
    block_with_block: float
    fidelity: float
    interactions: float
    gain: float
    with_other_fills: float


def rows() -> Iterator[Row]:
    """Yield for each network what each fill is worth, how far the default is from it, and how alike classes are."""
    for subject in subjects():
        found = list(answers(subject))
        worth = [worth_of_fills(each) for each in found]
        for fill in FILLS:
            measured = np.array([astuple(each[fill]) for each in worth if fill in each])
            if len(measured):
                yield Row(f"{subject.label}, {len(measured)} pictures: {fill}", _words(measured))
        for fill in FILLS:
            pairs = [(each[_BY_DEFAULT], each[fill]) for each in worth if fill in each]
            if pairs and fill != _BY_DEFAULT:
                yield Row(f"{subject.label}: {_BY_DEFAULT} minus {fill}, picture by picture", _difference(pairs))
        yield _class_row(subject, [each[_BY_DEFAULT] for each in found])


def _difference(pairs: list[tuple[Worth, Worth]]) -> str:
    """Return how far one fill is from another, with the masks that it takes for the same correlation.

    Where the map of a block correlates with that of another to r, its noise over signal is `1 / r - 1`.
    """
    apart = np.array([np.subtract(astuple(one), astuple(other)) for one, other in pairs])
    noise = [[1 / max(each.block_with_block, _LEAST) - 1 for each in pair] for pair in pairs]
    return f"{_words(apart)}; masks taken, ratio {_interval(np.array([one / other for one, other in noise]))}"


def _class_row(subject: Subject, found: list[Answers]) -> Row:
    """Return how like a map is to that of the likely class that it is most like, as the audit compares them."""
    largest = []
    for each in found:
        likely = [
            at for at in range(min(_LIKELY, len(each.unmasked))) if at == 0 or each.unmasked[at] >= _LEAST_PROBABILITY
        ]
        if len(likely) == 1:
            continue
        maps = np.stack([[each.map(block, of_class) for block in range(BLOCKS)] for of_class in likely])
        covariance = covariance_between_blocks(maps)
        own = np.where(covariance.diagonal() > 0, covariance.diagonal(), np.nan)
        with np.errstate(invalid="ignore"):
            largest.append(np.nanmax(covariance[0, 1:] / np.sqrt(own[0] * own[1:]), initial=-1))
    alike = sum(value >= MUCH_ALIKE for value in largest)
    value = f"{_interval(np.array(largest))}; {MUCH_ALIKE:g} or more in {alike} of {len(largest)} with such a class"
    return Row(f"{subject.label}: correlation with the map of the likely class that is most like it", value)


def worth_of_fills(found: dict[str, Answers]) -> dict[str, Worth]:
    """Return what each fill is worth on one picture."""
    maps = np.stack([[each.map(block) for block in range(BLOCKS)] for each in found.values()])
    covariance = covariance_between_blocks(maps)
    return {
        fill: Worth(
            kept=float(each.scores[..., 0].mean() / each.unmasked[0]),
            block_with_block=float(np.corrcoef(*maps[number].reshape(BLOCKS, -1))[0, 1]),
            fidelity=_known(each.statistics.fidelity()[0]),
            interactions=_known(each.statistics.interaction_share()[0]),
            gain=float((each.left[:, 0] - each.left[:, 1]).mean() / each.unmasked[0]),
            with_other_fills=_with_others(covariance, list(found), fill),
        )
        for number, (fill, each) in enumerate(found.items())
    }


def _with_others(covariance: Numbers, fills: list[str], fill: str) -> float:
    """Return the mean correlation with the maps of the fills that are on all pictures."""
    own = np.where(covariance.diagonal() > 0, covariance.diagonal(), np.nan)
    at = fills.index(fill)
    others = [fills.index(other) for other in FEW_FILLS if other != fill]
    return float(np.mean(np.clip(covariance[at, others] / np.sqrt(own[at] * own[others]), -1, 1)))


def _words(values: Numbers) -> str:
    """Return medians over pictures, `[P, figures]`, with their 95 % intervals."""
    names = [each.name.replace("_", " ") for each in fields(Worth)]
    return "; ".join(f"{name} {_interval(column)}" for name, column in zip(names, values.T, strict=True))


def _interval(values: Numbers) -> str:
    """Return a median with the percentile interval of its bootstrap over pictures (Efron 1979)."""
    known = values[np.isfinite(values)]
    drawn = np.random.default_rng(0).choice(known, (_RESAMPLES, len(known)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return f"{np.median(known):.2f} ({low:.2f} to {high:.2f})"


def _known(value: float | None) -> float:
    return np.nan if value is None else value
