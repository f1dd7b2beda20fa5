"""The search for jumps along paths, on scores that are known functions of the place."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import fisher_exact
from torch import Tensor

from tests.support.black_boxes import study_of
from workers.audit.asking import PictureAsker
from workers.audit.discontinuity import Jumps, chance_of_as_many, find_jumps
from workers.blackbox import Classifier, Preprocessing


def jumps_of(probabilities: Callable[[Tensor], list[Tensor]], *, paths: int = 1, twice: bool) -> tuple[Jumps, int]:
    """Return the jumps of a model of the brightness `[B]` on equal paths from black to white, and its passes."""
    box = Classifier(
        forward=lambda images: torch.stack(probabilities(images.mean((1, 2, 3))), 1),
        labels=("one", "other"),
        preprocessing=Preprocessing(size=None),
        activation="probabilities",
    )
    plan = study_of(box, Image.new("RGB", (16, 16)))
    asker = PictureAsker(plan, lambda _: None)
    image = plan.problem.image
    found, _ = find_jumps(asker, image, [lambda place: torch.full_like(image, place)] * paths, None, twice=twice)
    return found, asker.passes


def smooth(brightness: Tensor) -> Tensor:
    return (10 * brightness**2 - 6).sigmoid()


def jumping(brightness: Tensor) -> Tensor:
    """Return probabilities whose log-odds jump by log(4), at a place that no halving hits."""
    return torch.where(brightness < 0.1234, 0.2, 0.5)


def test_nothing_is_left_of_a_smooth_score() -> None:
    for twice in (False, True):
        found, _ = jumps_of(lambda brightness: [smooth(brightness), 0.3 + 0 * brightness], twice=twice)
        assert found.largest < 0.01
        assert found.moved[0] > 5


@pytest.mark.parametrize("twice", [False, True])
def test_a_jump_is_left_whole_and_located(*, twice: bool) -> None:
    found, _ = jumps_of(lambda brightness: [jumping(brightness), 0.3 + 0 * brightness], paths=3, twice=twice)
    assert found.sizes == pytest.approx([np.log(4)] * 3, abs=1e-3)
    assert found.places == pytest.approx([0.1234] * 3, abs=1 / 4096)


def test_a_jump_beside_a_larger_smooth_change_is_found_where_two_steps_are_followed() -> None:
    once, _ = jumps_of(lambda brightness: [smooth(brightness), jumping(brightness)], twice=False)
    found, _ = jumps_of(lambda brightness: [smooth(brightness), jumping(brightness)], twice=True)
    assert once.largest < 0.01
    assert found.largest == pytest.approx(np.log(4), abs=0.01)


def test_a_path_that_jumps_and_comes_back_counts_as_one_that_moves() -> None:
    found = Jumps(np.array([0.9, 0.0, 0.0]), np.zeros(1), np.zeros(3), moved=np.array([0.0, 0.9, 0.0]))
    assert found.above(0.3) == (1, 2)


def test_each_path_is_asked_14_or_16_pictures() -> None:
    for twice, each in ((False, 14), (True, 16)):
        assert jumps_of(lambda brightness: [jumping(brightness)] * 2, paths=5, twice=twice)[1] == 5 * each + 1


def test_as_many_by_chance_is_fishers_exact_test() -> None:
    for one, other in (((7, 7), (1, 5)), ((7, 7), (3, 5)), ((3, 7), (0, 5)), ((5, 7), (4, 4)), ((0, 7), (5, 5))):
        table = [[one[0], one[1] - one[0]], [other[0], other[1] - other[0]]]
        assert chance_of_as_many(one, other) == pytest.approx(fisher_exact(table, alternative="greater").pvalue)
