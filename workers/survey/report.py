"""The report of a survey: figures per label, clusters of maps, what is suspicious, in words. All thresholds are here.

A cluster is suspicious where more than half of its members are decided outside (`SurveyCase.is_decided_outside`), a
label where more of its cases are than luck explains: exact binomial tests, corrected for the number of clusters and
labels by Holm's method (Scandinavian Journal of Statistics 1979).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from app.contract.survey import Alignment, ClusterReport, LabelReport, LeftOut, SurveyCase, SurveyReport
from workers.survey.clusters import LEAST_MEMBERS, Maps, find_clusters
from workers.survey.places import place_of

LUCK = 0.05
"""Share of the cases of an honest model that are decided outside: none of 236 drawn shapes that `shapes` recognises."""

MOST = 0.5
"""Share of the members of a suspicious cluster that are decided outside, at least."""

SIGNIFICANCE = 0.05
"""Probability of any false suspicion in a report."""

SAME = 0.8
"""Jaccard index from which clusters of the two alignments are the same."""

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class CaseMaps:
    """The maps of cases, `[N, 16, 16]` each.

    Attributes:
        picture: as they lie in the picture.
        around: with the object's box in the middle half.
    """

    picture: Maps
    around: Maps


@dataclass(frozen=True)
class _Finding:
    """Recognised cases that are looked at together.

    Attributes:
        members: indices of cases, ascending.
        alignment: of their maps.
        stability: of the cluster.
    """

    members: NDArray[np.int_]
    alignment: Alignment
    stability: float


def build_report(
    cases: Sequence[SurveyCase], maps: CaseMaps, left_out: Sequence[LeftOut], *, seed: int
) -> SurveyReport:
    """Return the report.

    Args:
        cases: figures of each explained label of each image.
        maps: of the cases, in the same order.
        left_out: images without figures.
        seed: of resamples.
    """
    outside = np.asarray([case.is_decided_outside for case in cases], dtype=bool)
    by_label = {label: _indices(cases, label) for label in sorted({case.label for case in cases})}
    recognised = {
        label: np.asarray([place for place in places if cases[place].recognised], dtype=int)
        for label, places in by_label.items()
    }
    noun = "detections" if any(case.of_detection for case in cases) else "pictures"
    labels = [_label(cases, by_label[label], members, maps, outside, noun) for label, members in recognised.items()]
    clusters = [
        _cluster(cases, finding, len(members), maps, outside)
        for members in recognised.values()
        for finding in _findings(members, maps, seed)
    ]
    labels, clusters = _with_suspicion(labels, clusters, noun)
    clusters.sort(key=lambda each: (not each.suspicious, -each.images))
    images = len({case.index for case in cases} | {image.index for image in left_out})
    sentences = _summary(labels, clusters, left_out, noun)
    return SurveyReport(
        images=images,
        sentences=sentences,
        labels=labels,
        clusters=clusters,
        left_out=list(left_out),
        cases=list(cases),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, by Holm's step-down method."""
    corrected, so_far = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable").tolist()):
        so_far = max(so_far, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = so_far
    return corrected


def _indices(cases: Sequence[SurveyCase], label: int) -> list[int]:
    return [place for place, case in enumerate(cases) if case.label == label]


def _findings(members: NDArray[np.int_], maps: CaseMaps, seed: int) -> list[_Finding]:
    """Return the clusters of one label in both alignments; all of it as one where it has none."""
    if len(members) < LEAST_MEMBERS:
        return []
    alignments: list[tuple[Alignment, Maps]] = [("picture", maps.picture[members]), ("object", maps.around[members])]
    found: list[_Finding] = []
    for alignment, aligned in alignments:
        for cluster in find_clusters(aligned, seed=seed):
            finding = _Finding(members[cluster.members], alignment, cluster.stability)
            if not any(_overlap(finding.members, other.members) >= SAME for other in found):
                found.append(finding)
    parts = [finding for finding in found if len(finding.members) < len(members)]
    return parts or [_whole(members, alignments)]


def _whole(members: NDArray[np.int_], alignments: Sequence[tuple[Alignment, Maps]]) -> _Finding:
    """Return all cases of a label, in the alignment in which their maps are more alike."""
    likeness = {alignment: _likeness(aligned) for alignment, aligned in alignments}
    return _Finding(members, max(likeness, key=lambda alignment: likeness[alignment]), 1.0)


def _likeness(maps: Maps) -> float:
    """Return the length of the mean of maps of length 1: 1 where all are the same."""
    flat = maps.reshape(len(maps), -1)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    return float(np.linalg.norm((flat / np.maximum(lengths, 1e-12)).mean(0)))


def _overlap(one: NDArray[np.int_], other: NDArray[np.int_]) -> float:
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def _label(
    cases: Sequence[SurveyCase],
    places: Sequence[int],
    recognised: NDArray[np.int_],
    maps: CaseMaps,
    outside: NDArray[np.bool_],
    noun: str,
) -> LabelReport:
    chosen = [cases[place] for place in recognised]
    figures = _figures(chosen)
    count = int(outside[recognised].sum())
    name = cases[places[0]].label_name
    return LabelReport(
        **figures,
        name=name,
        label=cases[places[0]].label,
        images=len(places),
        recognised=len(chosen),
        reliability=_mean(case.reliability for case in chosen),
        fidelity=_mean(case.fidelity for case in chosen),
        mean_map=_mean_map(maps.picture[recognised]),
        decided_outside=count,
        p_value=_luck(count, len(chosen), LUCK),
        sentence=_label_sentence(f"{len(chosen)} of {len(places)} {name!r} {noun}", len(chosen), count, figures),
    )


def _cluster(
    cases: Sequence[SurveyCase], finding: _Finding, recognised: int, maps: CaseMaps, outside: NDArray[np.bool_]
) -> ClusterReport:
    members = [cases[place] for place in finding.members]
    aligned = maps.picture if finding.alignment == "picture" else maps.around
    mean = _mean_map(aligned[finding.members])
    count = int(outside[finding.members].sum())
    worst_first = sorted(finding.members.tolist(), key=lambda place: (not outside[place], cases[place].inside or 0.0))
    return ClusterReport(
        **_figures(members),
        label=members[0].label_name,
        images=len(members),
        share=len(members) / recognised,
        alignment=finding.alignment,
        stability=finding.stability,
        place=place_of(np.asarray(mean), finding.alignment),
        mean_map=mean,
        members=worst_first,
        decided_outside=count,
        p_value=_luck(count, len(members), MOST),
    )


def _mean_map(maps: Maps) -> list[list[float]]:
    """Return the mean of maps, each divided by its sum, so that none weighs more; times 256: 1 is evenly spread."""
    if not len(maps):
        return []
    sums = maps.sum(axis=(1, 2), keepdims=True)
    shares = np.divide(maps, sums, out=np.zeros_like(maps), where=sums > 0)
    rounded: list[list[float]] = np.round(shares.mean(0) * maps[0].size, 4).tolist()
    return rounded


def _figures(cases: Sequence[SurveyCase]) -> dict[str, Any]:
    inside = [case.inside for case in cases if case.inside is not None]
    background = [share for case in cases if (share := case.background_share) is not None]
    hits = sum(case.hit for case in cases)
    return {
        "inside": _mean(inside),
        "inside_interval": _interval(inside),
        "area": _mean(case.area for case in cases),
        "pointing_game": hits / len(cases) if cases else None,
        "pointing_game_interval": _proportion_interval(hits, len(cases)),
        "objects_alone": _mean(case.objects_share for case in cases),
        "background_alone": _mean(background),
        "background_alone_interval": _interval(background),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean of shares by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    half = stats.t.ppf((1 + _CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    mean = float(np.mean(values))
    return max(0.0, mean - float(half)), min(1.0, mean + float(half))


def _proportion_interval(count: int, total: int) -> tuple[float, float] | None:
    if not total:
        return None
    found = stats.binomtest(count, total).proportion_ci(_CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def _luck(count: int, total: int, share: float) -> float | None:
    """Return the probability of so many or more cases out of `total`; None for fewer than five."""
    return float(stats.binom.sf(count - 1, total, share)) if total >= LEAST_MEMBERS else None


def _with_suspicion(
    labels: Sequence[LabelReport], clusters: Sequence[ClusterReport], noun: str
) -> tuple[list[LabelReport], list[ClusterReport]]:
    tested = [each.p_value for each in [*labels, *clusters] if each.p_value is not None]
    corrected = iter(holm(tested))
    updates = [
        {} if each.p_value is None else {"p_value": (value := next(corrected)), "suspicious": value < SIGNIFICANCE}
        for each in [*labels, *clusters]
    ]
    of_labels, of_clusters = updates[: len(labels)], updates[len(labels) :]
    decided = [each.model_copy(update=update) for each, update in zip(clusters, of_clusters, strict=True)]
    recognised = {label.name: label.recognised for label in labels}
    return (
        [each.model_copy(update=update) for each, update in zip(labels, of_labels, strict=True)],
        [
            each.model_copy(update={"sentence": _cluster_sentence(each, recognised[each.label], noun)})
            for each in decided
        ],
    )


def _cluster_sentence(cluster: ClusterReport, recognised: int, noun: str) -> str:
    words = {"all over the picture": "all over the picture", "object": "on the object"}
    where = words.get(cluster.place, f"in the {cluster.place}")
    figures = (
        f"hold {_percent(cluster.inside)} of the saliency on {_percent(cluster.area)} of the area, and the background "
        f"alone keeps {_percent(cluster.background_alone)} of the score."
    )
    start = f"{cluster.images} of {recognised} {cluster.label!r} {noun}"
    if cluster.suspicious and cluster.decided_outside == cluster.images:
        return f"{start} were decided {where}, outside of the objects: these {figures}"
    return (
        f"{start} have their saliency {where}; {cluster.decided_outside} of these were decided outside of the objects. "
        f"On average the objects {figures}"
    )


def _label_sentence(counts: str, recognised: int, outside: int, figures: dict[str, Any]) -> str:
    start = f"{counts} are recognised"
    if not recognised:
        return f"{start}."
    return (
        f"{start}, {outside} of them decided outside of the objects; the objects hold {_percent(figures['inside'])} of "
        f"the saliency on {_percent(figures['area'])} of the area."
    )


def _percent(value: float | None) -> str:
    return "an unknown share" if value is None else f"{value:.0%}".replace("%", " %")


def _summary(
    labels: Sequence[LabelReport], clusters: Sequence[ClusterReport], left_out: Sequence[LeftOut], noun: str
) -> list[str]:
    suspects = [cluster for cluster in clusters if cluster.suspicious]
    named = {cluster.label for cluster in suspects}
    sentences = [cluster.sentence for cluster in suspects]
    sentences += [
        f"{label.decided_outside} of {label.recognised} {label.name!r} {noun} were decided outside of the objects, "
        "more than luck explains."
        for label in labels
        if label.suspicious and label.name not in named
    ]
    few = sum(label.recognised < LEAST_MEMBERS for label in labels)
    if not sentences:
        looked_at = len(labels) - few
        sentences.append(
            f"Nothing suspicious was found in {looked_at} label{'s' * (looked_at != 1)}."
            if looked_at
            else f"No label has enough recognised {noun} to be looked at."
        )
    if few:
        sentences.append(
            f"{few} label{'s have' if few > 1 else ' has'} fewer than {LEAST_MEMBERS} recognised {noun} and "
            f"{'were' if few > 1 else 'was'} not tested."
        )
    if left_out:
        sentences.append(f"{len(left_out)} image{'s' * (len(left_out) != 1)} left out; see `left_out`.")
    return sentences
