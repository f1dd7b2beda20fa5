from pathlib import Path

import numpy as np
import pytest
import torch

from bench.attributions import comparison
from bench.attributions.comparison import METHODS, OURS, compare_methods, default_run, own_correlations, passes_needed
from bench.attributions.maps import ExplainedPicture, MakeMap
from bench.attributions.photographs import photographs
from bench.yolo import SIDE, YoloShaped
from tests.support.black_boxes import brightness_of, classifier, noise_image

PATCH = slice(12, 20), slice(20, 28)


@pytest.fixture
def picture() -> ExplainedPicture:
    """A picture of noise, and a black box that sees one patch of it."""
    model = classifier(brightness_of(*PATCH), size=(32, 32))
    return ExplainedPicture("patch", model, noise_image(32, 32), lambda score: score)


@pytest.mark.parametrize("make", METHODS.values())
def test_each_method_blames_the_patch_that_the_black_box_sees(make: MakeMap, picture: ExplainedPicture) -> None:
    found = make(picture, 264, 1)
    assert found.shape == (32, 32)
    assert found[PATCH].mean() > found.mean() + 2 * found.std()


def test_a_picture_is_compared_by_all_methods_and_others_are_asked_once(
    picture: ExplainedPicture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "STORE", tmp_path)
    found = compare_methods(picture, (128, 256), reference=1024)
    assert list(found) == list(METHODS)
    assert found[OURS][256].correlation > 0.95
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert compare_methods(picture, (128, 256), reference=1024) == found
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == kept


def test_the_default_settings_end_by_themselves_where_their_map_is_near_the_converged_one(
    picture: ExplainedPicture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "STORE", tmp_path)
    found = default_run(picture, reference=1024)
    assert found.promised >= 0.95
    assert found.quality.correlation >= 0.93
    assert found.needed is not None
    assert found.needed <= found.stopped


def test_the_correlation_with_a_converged_map_follows_from_two_runs_of_unequal_length() -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal(200_000)
    maps = {passes: truth + random.standard_normal(truth.shape) * np.sqrt(300 / passes) for passes in (256, 1024)}
    found = own_correlations(maps)
    for passes, shown in maps.items():
        assert found[passes] == pytest.approx(np.corrcoef(shown, truth)[0, 1], abs=0.01)


def test_passes_needed_follow_from_the_correlation_that_some_passes_give() -> None:
    reached = 1 / np.sqrt(1 + 300 / 256)
    assert 1 / np.sqrt(1 + 300 / passes_needed(reached, 256)) == pytest.approx(0.95)


def test_a_correlation_that_falls_again_has_not_settled() -> None:
    assert comparison.settled_from([0.9, 0.96, 0.94, 0.96, 0.97]) == 4
    assert comparison.settled_from([0.96, 0.97]) == 1
    assert comparison.settled_from([0.96, 0.94]) is None


def test_photographs_of_installed_packages_are_in_colour_and_all_different() -> None:
    found = photographs(12)
    assert len(found) == 12
    assert {photograph.mode for photograph in found.values()} == {"RGB"}
    assert len({photograph.tobytes() for photograph in found.values()}) == 12


def test_the_detector_of_random_weights_finds_a_few_things() -> None:
    detector = YoloShaped().eval().requires_grad_(False)
    image = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    detector.fit_confidences(image)
    proposals = detector(image[None])
    assert proposals.shape == (1, 84, 2100)
    assert 1 <= int((proposals[0, 4:].amax(0) >= 0.5).sum()) <= 10
    assert float(proposals[0, 4:].amax(0).median()) < 0.05
