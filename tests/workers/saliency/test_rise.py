"""The tests that decide, for RISE: exact oracles, not golden files."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.saliency.geometry import Axis, BlockRenderer, Viewport
from tests.support.black_boxes import (
    brightness_of,
    classifier,
    draw_blocks,
    effects_of,
    map_of,
    noise_image,
    study_of,
    white_image,
)
from workers.explainer.convergence import Convergence
from workers.methods import method

KEEPS = [0.3, 0.5, 0.7]


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize(("width", "height"), [(48, 32), (32, 48)])
def test_a_constant_black_box_gives_a_flat_map_everywhere_corners_included(
    keep: float, width: int, height: int
) -> None:
    image = noise_image(width, height)
    black_box = classifier(lambda images: torch.full((len(images),), 0.7))
    drawn = map_of(study_of(black_box, image, keep=keep, grid=6, masks=1500, until=1), image)
    assert drawn.values.shape == (1, height, width)
    assert np.abs(drawn.values).max() < 1e-5


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("shrink", [False, True])
def test_a_constant_score_is_flat_not_reliable_and_no_reason_to_go_on(keep: float, shrink: bool) -> None:
    black_box = classifier(lambda images: torch.full((len(images),), 0.7))
    study = study_of(black_box, noise_image(48, 32), keep=keep, grid=6, masks=1500, shrink=shrink)
    convergence = Convergence(study)
    for block in islice(study.run(), 4):
        convergence.add(block)
    assert convergence.flat() == [True]
    assert convergence.reliability() == [0.0]
    assert convergence.reached()


def linear_truth(
    contribution: NDArray[np.float64], grid: tuple[int, int], *, only: slice = slice(None)
) -> NDArray[np.float64]:
    """The map of a score that adds up `contribution` of every visible pixel, in closed form.

    A cell's effect is the sum of what its pixels contribute, weighted as the mask weighs them; the map at a pixel is
    the slope of the score on that pixel's visibility, averaged over all shifts.
    """
    vertical, horizontal = (Axis(side, cells) for side, cells in zip(contribution.shape, grid, strict=True))
    total = np.zeros(contribution.shape)
    v1 = np.zeros(contribution.shape)
    for dy in range(vertical.cell)[only]:
        rows = vertical.rows(dy).astype(float)
        for dx in range(horizontal.cell)[only]:
            columns = horizontal.rows(dx).astype(float)
            total += rows @ (rows.T @ contribution @ columns) @ columns.T
            v1 += np.outer((rows**2).sum(1), (columns**2).sum(1))
    return total / v1


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_linear_black_box_gives_its_closed_form_within_four_standard_errors(keep: float, seed: int) -> None:
    image = noise_image(30, 42, seed=7)
    weights = torch.from_numpy(np.random.default_rng(8).random((42, 30)) / (42 * 30)).float()
    black_box = classifier(lambda images: (images.mean(1) * weights).sum((1, 2)))
    drawn = map_of(study_of(black_box, image, keep=keep, grid=(6, 5), masks=8000, until=1, seed=seed), image)
    contribution = np.asarray(image, dtype=float).mean(2) / 255 * weights.numpy()
    assert drawn.standard_error is not None
    distance = np.abs(drawn.values - linear_truth(contribution, (6, 5))) / drawn.standard_error
    assert distance.max() < 4


@pytest.mark.parametrize(("width", "height"), [(64, 64), (80, 48), (48, 80)])
@pytest.mark.parametrize("keep", KEEPS)
def test_a_black_box_that_sees_only_one_patch_is_blamed_on_that_patch(width: int, height: int, keep: float) -> None:
    image = white_image(width, height)
    top, left = height // 2, width // 8
    seen = (slice(top, top + 12), slice(left, left + 12))
    drawn = map_of(study_of(classifier(brightness_of(*seen)), image, keep=keep, masks=2000, until=1), image)
    row, column = np.unravel_index(drawn.values[0].argmax(), drawn.values[0].shape)
    assert top <= row < top + 12
    assert left <= column < left + 12
    assert drawn.values[0][seen].mean() > 5 * np.abs(np.delete(drawn.values[0], range(top - 12, top + 24), 0)).mean()


def test_what_lowers_a_score_is_negative() -> None:
    image = white_image(40, 40)
    harmful = brightness_of(slice(0, 10), slice(0, 10))
    drawn = map_of(study_of(classifier(lambda images: 1 - harmful(images)), image, masks=1000, until=1), image)
    assert drawn.values[0, :10, :10].max() < 0
    assert abs(drawn.values[0]).max() == -drawn.values[0].min()


def test_the_map_is_the_change_of_the_score_when_a_pixel_becomes_visible() -> None:
    image = white_image(32, 32)
    whole = classifier(lambda images: images.mean((1, 2, 3)))
    drawn = map_of(study_of(whole, image, grid=1, masks=100, until=1), image)
    assert np.allclose(drawn.values, 1, atol=1e-4)  # one cell: hiding it takes the score from 1 to 0


def test_the_published_estimator_has_the_values_worked_out_by_hand() -> None:
    masks = torch.ones(6, 2, 3)
    masks.view(6, 6).fill_diagonal_(0)
    scores = torch.tensor([0, 0.33, 0.66, 0.33, 0.66, 1.0])
    rise = method("rise")
    summed = rise.published_weights(rise.Parameters(keep=0.5))(scores[:, None], masks[None])[0, 0]
    expected = [1, 0.88926174, 0.77852349, 0.88926174, 0.77852349, 0.66442953]
    assert (summed / summed.max()).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_the_published_estimator_converges_to_the_expectation_of_its_equation() -> None:
    image = white_image(24, 24)
    seen = (slice(4, 10), slice(4, 10))
    study = study_of(classifier(brightness_of(*seen)), image, estimator="paper", grid=4, masks=20_000, until=1)
    drawn = map_of(study, image)
    axis = Axis(24, 4)
    second = np.zeros((24, 24, 24, 24))
    for dy in range(axis.cell):
        for dx in range(axis.cell):
            rows, columns = axis.rows(dy), axis.rows(dx)
            second += np.einsum("ia,ja,kb,lb->ikjl", rows, rows, columns, columns)
    moment = 0.25 + 0.25 * second / axis.cell**2  # E[M(p) M(q)] = p^2 + p(1-p) w(p).w(q)
    expected = moment[:, :, 4:10, 4:10].mean((2, 3)) / 0.5
    assert drawn.standard_error is not None
    assert (np.abs(drawn.values[0] - expected) / drawn.standard_error[0]).max() < 5
    assert study.problem.canvas.shift(0) != study.problem.canvas.shift(1)


@pytest.mark.parametrize("estimator", ["contrast", "paper"])
def test_the_map_does_not_depend_on_the_batch_size(estimator: str) -> None:
    image = noise_image(40, 40)
    black_box = classifier(lambda images: images[:, 0, :20].mean((1, 2)) * images[:, 1, 20:].mean((1, 2)))
    study = study_of(black_box, image, masks=600, until=1, estimator=estimator)
    maps = []
    for batch in (1, 7, 128):
        scene = type(study.problem)(**{**vars(study.problem), "batch": batch})
        other = type(study)(**{**vars(study), "problem": scene})
        maps.append(map_of(other, image).values)
    assert np.allclose(maps[0], maps[1], atol=1e-6)
    assert np.allclose(maps[0], maps[2], atol=1e-6)


@pytest.mark.parametrize("estimator", ["contrast", "paper"])
def test_running_out_of_memory_halves_the_batch_and_changes_nothing(estimator: str) -> None:
    image, seen = noise_image(40, 40), brightness_of(slice(0, 9), slice(0, 9))
    largest = []

    def small_device(images: Tensor) -> Tensor:
        if len(images) > 5:
            raise torch.OutOfMemoryError("out of memory")
        largest.append(len(images))
        return seen(images)

    options: dict[str, Any] = {"masks": 500, "until": 1, "estimator": estimator}
    whole = map_of(study_of(classifier(seen), image, **options), image)
    assert np.allclose(
        map_of(study_of(classifier(small_device), image, **options), image).values, whole.values, atol=1e-6
    )
    assert max(largest) == 4


def test_blocks_resumed_in_the_middle_are_the_blocks_of_an_undisturbed_run() -> None:
    image = noise_image(40, 40)
    study = study_of(classifier(brightness_of(slice(0, 9), slice(0, 9))), image, masks=1000, until=1, keep=0.4)
    whole = effects_of(study)
    resumed = study.pipeline()
    pieces = [*list(study.run())[:3], *map(resumed.block, range(3, study.blocks))]
    assert [block.index for block in pieces] == [block.index for block in whole]
    assert all(np.array_equal(a.effects, b.effects) for a, b in zip(whole, pieces, strict=True))


def test_more_masks_later_continue_the_same_explanation() -> None:
    image = noise_image(40, 40)
    black_box = classifier(brightness_of(slice(0, 9), slice(0, 9)))
    few = effects_of(study_of(black_box, image, masks=512, until=1))
    study = study_of(black_box, image, masks=1024, until=1)
    more = few + list(map(study.pipeline().block, range(len(few), study.blocks)))
    assert np.array_equal(draw_blocks(study, more, image).values, map_of(study, image).values)


def test_masks_on_the_image_and_on_the_model_s_input_agree_up_to_resampling() -> None:
    image = noise_image(96, 72, seed=3)
    black_box = classifier(brightness_of(slice(8, 20), slice(12, 30)), size=(48, 48))
    on_model = map_of(study_of(black_box, image, masks=4000, until=1), image).values[0]
    on_image = map_of(study_of(black_box, image, masks=4000, until=1, canvas="image"), image).values[0]
    assert on_model.shape == on_image.shape == (72, 96)
    assert np.corrcoef(on_model.ravel(), on_image.ravel())[0, 1] > 0.98
    assert np.abs(on_model - on_image).max() < 0.15 * on_model.max()


def test_normalising_once_gives_the_map_of_normalising_every_masked_image() -> None:
    image = noise_image(32, 32)
    plain = classifier(lambda images: ((images - 0.4) / 0.2).mean((1, 2, 3)).sigmoid(), size=(32, 32))
    normal = type(plain)(
        forward=lambda images: images.mean((1, 2, 3)).sigmoid().unsqueeze(1),
        labels=plain.labels,
        preprocessing=type(plain.preprocessing)(size=(32, 32), mean=(0.4,) * 3, std=(0.2,) * 3),
        activation="probabilities",
    )
    options: dict[str, Any] = {"masks": 500, "until": 1, "fill": "#ff8000"}
    assert np.allclose(
        map_of(study_of(plain, image, **options), image).values,
        map_of(study_of(normal, image, **options), image).values,
        atol=1e-6,
    )


def test_it_stops_at_the_first_reliable_block_and_not_before_the_second() -> None:
    image = white_image(48, 48)
    study = study_of(classifier(brightness_of(slice(0, 12), slice(0, 12))), image, masks=100_000, until=0.9)
    convergence = Convergence(study)
    for block in study.run():
        assert not convergence.reached()
        convergence.add(block)
        if convergence.reached():
            break
    assert 2 <= convergence.blocks < 40
    reliability = convergence.reliability()
    assert reliability is not None
    assert reliability[0] >= 0.9


def test_until_one_uses_all_masks() -> None:
    image = white_image(48, 48)
    study = study_of(classifier(brightness_of(slice(0, 12), slice(0, 12))), image, masks=1500, until=1)
    convergence = Convergence(study)
    for block in study.run():
        convergence.add(block)
    assert not convergence.reached()
    assert convergence.blocks == study.blocks == 12


def test_a_class_nobody_asked_for_has_its_effects_kept_too() -> None:
    image = white_image(32, 32)
    two = classifier(brightness_of(slice(0, 8), slice(0, 8)))
    both = type(two)(
        forward=lambda images: torch.cat([two.forward(images), 1 - two.forward(images)], 1),
        labels=("bright", "dark"),
        preprocessing=two.preprocessing,
        activation="probabilities",
    )
    study = study_of(both, image, masks=500, until=1)
    assert study.resolved.rows == [0, 1]
    assert np.allclose(map_of(study, image, 0).values, -map_of(study, image, 1).values, atol=1e-6)


def test_a_map_is_the_plain_mean_of_its_blocks_unless_it_is_asked_to_be_shrunk() -> None:
    image = noise_image(48, 40)
    black_box = classifier(lambda images: images[:, :, 8:20, 8:20].mean((1, 2, 3)) + images[:, 0, 20, 30])
    study = study_of(black_box, image, masks=1024, until=1)
    canvas, blocks = study.problem.canvas, effects_of(study)
    pen = BlockRenderer(canvas, Viewport(canvas.height, canvas.width, canvas.view))
    mean = np.mean([pen.block(block.effects[:1, 0], block.index)[0] for block in blocks], axis=0)
    drawn = draw_blocks(study, blocks, image).values[0]
    shrunk = map_of(study_of(black_box, image, masks=1024, until=1, shrink=True), image).values[0]
    assert np.allclose(drawn, mean, atol=1e-6)
    assert np.abs(shrunk).sum() < 0.999 * np.abs(drawn).sum()
    assert np.corrcoef(shrunk.ravel(), drawn.ravel())[0, 1] > 0.98


@pytest.mark.parametrize("estimator", ["contrast", "paper"])
def test_an_explanation_that_is_left_half_done_disturbs_no_other(estimator: str) -> None:
    image = noise_image(40, 40)
    study = study_of(
        classifier(brightness_of(slice(0, 9), slice(0, 9))), image, until=1, masks=1000, estimator=estimator
    )
    expected = [block.effects for block in study.run()]
    left, others = study.run(), study.run()
    next(left)
    found = [next(others)]
    assert not torch.is_inference_mode_enabled()
    del left  # whenever its memory is freed
    found += others
    assert all(np.array_equal(block.effects, effects) for block, effects in zip(found, expected, strict=True))
