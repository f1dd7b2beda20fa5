"""Reports of surveys, from cases whose figures are known."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from app.contract.survey import LeftOut, SurveyCase, SurveyReport
from tests.workers.survey.test_clusters import blobs
from workers.survey.places import place_of
from workers.survey.report import LUCK, CaseMaps, build_report, holm


def a_case(index: int = 0, **changes: Any) -> SurveyCase:
    """Return a case that is decided by its object."""
    fields: dict[str, Any] = {
        "index": index,
        "name": f"{index}.png",
        "explanation": str(index),
        "target": 0,
        "label": 3,
        "label_name": "star",
        "predicted": "star",
        "annotated": True,
        "recognised": True,
        "box": (0, 0, 1, 1),
        "inside": 0.6,
        "area": 0.2,
        "hit": True,
        "whole": 0.9,
        "objects_alone": 0.8,
        "background_alone": 0.05,
        "nothing": 0.0,
    }
    return SurveyCase.model_validate({**fields, **changes})


def outside(index: int, **changes: Any) -> SurveyCase:
    return a_case(index, inside=0.02, hit=False, objects_alone=0.1, background_alone=0.88, **changes)


def report_of(*cases: SurveyCase, corner: int = 0) -> SurveyReport:
    """Return the report of cases, the maps of the first of which have a blob in the lower right corner."""
    random = np.random.default_rng(0)
    maps = np.concatenate([blobs(random, corner, at=(14, 14)), blobs(random, len(cases) - corner, at=(6, 7))])
    return build_report(cases, CaseMaps(maps, maps), [], seed=0)


def test_a_case_is_decided_outside_by_saliency_and_by_score_together() -> None:
    assert outside(0).is_decided_outside
    assert not a_case().is_decided_outside
    assert not a_case(inside=0.02).is_decided_outside  # the background alone brings nothing
    assert not a_case(background_alone=0.9).is_decided_outside  # the saliency is inside
    assert not a_case(inside=None, background_alone=0.9).is_decided_outside
    assert not outside(0, nothing=0.88).is_decided_outside  # nothing at all brings as much


def test_a_cluster_outside_of_the_objects_is_suspicious_and_named() -> None:
    report = report_of(*map(outside, range(12)), *map(a_case, range(12, 40)), corner=12)
    first, *others = report.clusters
    assert (first.suspicious, first.label, first.images) == (True, "star", 12)
    assert first.place == "lower right corner"
    assert first.share == pytest.approx(0.3)
    assert first.members == list(range(12))
    assert not any(cluster.suspicious for cluster in others)
    assert report.labels[0].suspicious
    assert report.sentences == [
        "12 of 40 'star' pictures were decided in the lower right corner, outside of the objects: these hold 2 % of "
        "the saliency on 20 % of the area, and the background alone keeps 98 % of the score."
    ]


def test_a_sentence_counts_those_decided_outside_among_those_with_their_saliency_in_a_place() -> None:
    report = report_of(*map(outside, range(11)), *map(a_case, range(11, 40)), corner=12)
    first, other = report.clusters
    assert (first.suspicious, first.images, first.decided_outside) == (True, 12, 11)
    assert first.sentence == (
        "12 of 40 'star' pictures have their saliency in the lower right corner; 11 of these were decided outside of "
        "the objects. On average the objects hold 7 % of the saliency on 20 % of the area, and the background alone "
        "keeps 90 % of the score."
    )
    assert "28 of 40 'star' pictures have their saliency in the middle of the picture; 0 of these" in other.sentence


def test_the_test_of_a_cluster_is_the_exact_binomial_one_corrected_for_clusters_and_labels() -> None:
    report = report_of(*map(outside, range(12)), *map(a_case, range(12, 40)), corner=12)
    label, cluster, other = stats.binom.sf(11, 40, LUCK), 0.5**12, 1.0
    expected = holm([label, cluster, other])
    found = [report.labels[0].p_value, *(each.p_value for each in report.clusters)]
    assert found == pytest.approx(expected)


def test_holm_corrects_each_value_for_those_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_nothing_is_suspicious_about_cases_that_their_objects_decide() -> None:
    report = report_of(*map(a_case, range(30)))
    assert report.sentences == ["Nothing suspicious was found in 1 label."]
    assert report.labels[0].inside == pytest.approx(0.6)
    assert report.labels[0].pointing_game == 1
    assert report.labels[0].background_alone == pytest.approx(0.05 / 0.9)


def test_a_few_cases_by_accident_are_luck() -> None:
    report = report_of(*map(outside, range(2)), *map(a_case, range(2, 40)))
    assert not report.labels[0].suspicious
    assert report.labels[0].decided_outside == 2


def test_a_label_is_suspicious_though_its_cases_form_no_cluster() -> None:
    cases = [*map(outside, range(10)), *map(a_case, range(10, 40))]
    maps = blobs(np.random.default_rng(0), 40, at=(7, 7))
    report = build_report(cases, CaseMaps(maps, maps), [], seed=0)
    assert report.sentences == [
        "10 of 40 'star' pictures were decided outside of the objects, more than luck explains."
    ]


def test_cases_that_the_model_does_not_recognise_are_counted_and_left_out_of_figures() -> None:
    missed = [a_case(index, recognised=False, predicted="ring", inside=0.0) for index in range(10, 15)]
    label = report_of(*map(a_case, range(10)), *missed).labels[0]
    assert (label.images, label.recognised) == (15, 10)
    assert label.inside == pytest.approx(0.6)
    assert label.sentence.startswith("10 of 15 'star' pictures are recognised, 0 of them decided outside")


def test_labels_with_few_cases_and_images_left_out_are_said_to_be() -> None:
    left_out = [LeftOut(index=9, name="9.png", reason="it has no annotation")]
    maps = blobs(np.random.default_rng(0), 3, at=(7, 7))
    report = build_report([outside(index) for index in range(3)], CaseMaps(maps, maps), left_out, seed=0)
    assert report.images == 4
    assert report.clusters == []
    assert report.labels[0].p_value is None
    assert report.sentences == [
        "No label has enough recognised pictures to be looked at.",
        "1 label has fewer than 5 recognised pictures and was not tested.",
        "1 image left out; see `left_out`.",
    ]


def test_a_report_of_nothing_is_a_report() -> None:
    empty = np.zeros((0, 16, 16), dtype=np.float32)
    assert build_report([], CaseMaps(empty, empty), [], seed=0).labels == []


@pytest.mark.parametrize(
    ("at", "picture", "around"),
    [
        ((2, 2), "upper left corner", "region above and left of the object"),
        ((14, 14), "lower right corner", "region below and right of the object"),
        ((8, 1), "left part of the picture", "region left of the object"),
        ((7.5, 7.5), "middle of the picture", "object"),
    ],
)
def test_places_are_words(at: tuple[float, float], picture: str, around: str) -> None:
    mean = blobs(np.random.default_rng(0), 1, at=at)[0]
    assert place_of(mean, "picture") == picture
    assert place_of(mean, "object") == around


def test_saliency_everywhere_and_nowhere_has_words_too() -> None:
    assert place_of(np.ones((16, 16)), "picture") == "all over the picture"
    assert place_of(np.zeros((16, 16)), "picture") == "nowhere"
    ring = np.ones((16, 16))
    ring[4:-4, 4:-4] = 0
    assert place_of(ring, "object") == "region around the object"
