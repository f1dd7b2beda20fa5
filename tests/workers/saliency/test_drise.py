"""D-RISE on detectors whose answers are known, then on real ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.errors import RiseError
from app.contract.schemas import TargetRequest, TargetResult
from tests.support.black_boxes import draw_blocks, map_of, noise_image, study_of, white_image
from workers.blackbox import Detections, Detector, Preprocessing
from workers.execution.results import finished_targets, require_any_target
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan, build_plan
from workers.methods import method
from workers.saliency.estimators import Block

Fires = Callable[[Tensor], Tensor]
SIZE = (64, 80)  # height, width


def detector(boxes: list[list[float]], fires: Fires, classes: list[list[float]] | None = None) -> Detector:
    """A detector that proposes fixed boxes with the objectness `fires(images)` -> `[B, P]`."""
    vectors = classes or [[1.0, 0.0]] * len(boxes)

    def forward(images: Tensor) -> Detections:
        count = len(images)
        fixed, kinds = torch.tensor(boxes).reshape(-1, 4), torch.tensor(vectors).reshape(-1, 2)
        return Detections(fixed.expand(count, -1, -1), kinds.expand(count, -1, -1), fires(images))

    return Detector(forward, ("cat", "dog"), Preprocessing(size=None))


def patch(images: Tensor, box: list[float]) -> Tensor:
    x0, y0, x1, y1 = (int(side) for side in box)
    return images[:, :, y0:y1, x0:x1].mean((1, 2, 3))


LEFT, RIGHT = [8.0, 20.0, 24.0, 40.0], [56.0, 20.0, 72.0, 40.0]


def two_objects(images: Tensor) -> Tensor:
    return torch.stack([patch(images, LEFT), patch(images, RIGHT)], 1)


BOX_AND_CELLS = [
    ([0.0, 0.0, 80.0, 64.0], 6),
    ([8.0, 20.0, 48.0, 52.0], 6),  # half of either side
    ([8.0, 20.0, 38.0, 60.0], 8),  # 3/8 of the width
    ([8.0, 20.0, 48.0, 36.0], 12),  # a quarter of the height
    ([8.0, 20.0, 12.0, 60.0], 16),  # a twentieth of the width
    ([60.0, 20.0, 200.0, 200.0], 12),  # a quarter of the width lies inside of the image
]


@pytest.mark.parametrize(("box", "cells"), BOX_AND_CELLS)
def test_an_automatic_grid_is_the_coarsest_at_which_the_smallest_target_spans_three_cells(
    box: list[float], cells: int
) -> None:
    image, whole = white_image(80, 64), [0.0, 0.0, 80.0, 64.0]
    black_box = detector([whole, box], lambda images: torch.full((len(images), 2), 0.9), [[1.0, 0.0], [0.0, 1.0]])
    plan = study_of(black_box, image, method_name="drise")
    assert len(plan.resolved.targets) == 2
    assert plan.state().canvas.grid == plan.design.grid == (cells, cells)
    alone = study_of(black_box, image, "top:1", method_name="drise")
    assert alone.design.grid == (6, 6), "what is not explained does not count"


def test_the_published_estimator_has_the_published_grid() -> None:
    black_box = detector([[0.0, 0.0, 80.0, 64.0]], lambda images: torch.full((len(images), 1), 0.9))
    assert study_of(black_box, white_image(80, 64), method_name="drise", estimator="paper").design.grid == (16, 16)


def inside(values: NDArray[np.float32], box: list[float]) -> bool:
    row, column = np.unravel_index(values.argmax(), values.shape)
    return bool(box[0] <= column < box[2] and box[1] <= row < box[3])


def test_a_detector_that_needs_a_patch_is_blamed_on_it() -> None:
    image = white_image(80, 64)
    black_box = detector([LEFT], lambda images: patch(images, LEFT)[:, None])
    drawn = map_of(study_of(black_box, image, method_name="drise", grid=8, masks=1000, until=1), image)
    assert inside(drawn.values[0], LEFT)


def test_two_objects_of_one_class_give_two_different_maps() -> None:
    image = white_image(80, 64)
    study = study_of(detector([LEFT, RIGHT], two_objects), image, method_name="drise", grid=8, masks=1000, until=1)
    assert len(study.resolved.targets) == 2
    blocks = list(study.run())
    maps = [draw_blocks(study, blocks, image, row).values[0] for row in (0, 1)]
    boxes = [target.box for target in study.resolved.targets]
    for drawn, box in zip(maps, boxes, strict=True):
        assert box is not None
        assert inside(drawn, list(box))
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] < 0.3


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.7])
def test_a_constant_detector_gives_a_flat_map(keep: float) -> None:
    image = noise_image(80, 64)
    black_box = detector([LEFT], lambda images: torch.full((len(images), 1), 0.9))
    study = study_of(black_box, image, method_name="drise", grid=6, masks=800, until=1, keep=keep)
    assert np.abs(map_of(study, image).values).max() < 1e-5


def test_a_box_at_the_border_works_and_a_box_without_area_says_why_not() -> None:
    image, corner = white_image(80, 64), [0.0, 0.0, 12.0, 12.0]
    black_box = detector([corner], lambda images: patch(images, corner)[:, None])
    study = study_of(black_box, image, [TargetRequest(box=(0, 0, 12, 12), label="cat")], method_name="drise", masks=600)
    assert inside(map_of(study, image).values[0], corner)
    empty = study_of(black_box, image, [TargetRequest(box=(5, 5, 5, 5))], method_name="drise", masks=600, until=1)
    with pytest.raises(RiseError, match="in none of the masked images") as caught:
        require_any_target(finished(empty))
    assert caught.value.code == "no-target"


def finished(study: ExplanationPlan) -> list[TargetResult]:
    convergence = Convergence(study)
    for block in study.run():
        convergence.add(block)
    return finished_targets(study, convergence)


def test_a_detector_that_finds_nothing_is_said_to_find_nothing() -> None:
    silent = detector([LEFT], lambda images: torch.zeros(len(images), 1))
    with pytest.raises(RiseError, match=r"detects nothing above 0\.3") as caught:
        study_of(silent, white_image(80, 64), method_name="drise")
    assert caught.value.code == "no-target"
    mute = detector([], lambda images: torch.zeros(len(images), 0))
    with pytest.raises(RiseError, match="nothing at all"):
        study_of(mute, white_image(80, 64), method_name="drise")


def test_a_missed_object_can_be_explained_by_its_box() -> None:
    image = white_image(80, 64)
    weak = detector([LEFT], lambda images: 0.25 * patch(images, LEFT)[:, None])
    study = study_of(weak, image, [TargetRequest(box=(8, 20, 24, 40), label="cat")], method_name="drise", masks=1000)
    assert study.resolved.targets[0].score == pytest.approx(0.25)
    assert inside(map_of(study, image).values[0], LEFT)


def test_a_class_that_nothing_shows_is_no_target() -> None:
    black_box = detector([LEFT], lambda images: patch(images, LEFT)[:, None])
    with pytest.raises(RiseError) as caught:
        study_of(black_box, white_image(80, 64), [TargetRequest(label="dog")], method_name="drise")
    assert caught.value.code == "no-target"


def test_location_and_class_can_be_explained_apart() -> None:
    image = white_image(80, 64)

    def forward(images: Tensor) -> Detections:  # the left half says what, the right half says where
        what, where = patch(images, [0, 0, 40, 64]), patch(images, [40, 0, 80, 64])
        box = torch.tensor([30.0, 20, 50, 40]).expand(len(images), 1, 4)
        classes = torch.stack([what, 1 - what], 1)[:, None]
        return Detections(box, classes, where[:, None].clamp(min=0.2))

    black_box = Detector(forward, ("cat", "dog"), Preprocessing(size=None))
    place = map_of(study_of(black_box, image, method_name="drise", explain="location", masks=2000, until=1), image)
    kind = map_of(study_of(black_box, image, method_name="drise", explain="class", masks=2000, until=1), image)
    assert place.values[0, :, :36].mean() < 0.1 * place.values[0, :, 44:].mean()
    assert kind.values[0, :, :36].mean() > 2 * np.abs(place.values[0, :, :36]).mean()


def test_a_target_that_masking_destroys_is_rescued_by_keeping_more_visible_and_says_so() -> None:
    image = white_image(80, 64)
    fragile = detector([LEFT], lambda images: (patch(images, LEFT) > 0.8).float()[:, None])
    study = study_of(fragile, image, method_name="drise", grid=8, masks=3000, until=1)
    assert study.parameters.keep == 0.8
    targets = finished(study)
    assert "keep was raised" in targets[0].warnings[0]
    assert targets[0].matched is not None
    assert targets[0].matched > 0.2
    assert inside(map_of(study, image).values[0], LEFT)
    stubborn = study_of(fragile, image, method_name="drise", grid=8, masks=3000, until=1, rescue=False)
    assert stubborn.parameters.keep == 0.5
    assert any("trust the map with care" in warning for warning in finished(stubborn)[0].warnings)


def test_cells_are_chosen_as_ever_where_keep_is_raised() -> None:
    fragile = detector([LEFT], lambda images: (patch(images, LEFT) > 0.8).float()[:, None])
    raised, asked = (
        study_of(fragile, white_image(80, 64), method_name="drise", rescue=rescue) for rescue in (True, False)
    )
    assert (raised.design.keep, asked.design.keep) == (0.8, 0.5)
    assert raised.design.refined is not None
    assert raised.design.tiling == asked.design.tiling


def test_the_pilot_sample_ends_when_it_can_change_nothing_and_is_not_taken_where_nothing_may_change() -> None:
    image = white_image(80, 64)
    asked: list[int] = []

    def confidence(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return torch.full((len(images), 1), 0.9)

    def pilot_of(**parameters: Any) -> int:
        asked.clear()
        study_of(detector([LEFT], confidence), image, method_name="drise", grid=8, **parameters)
        return sum(asked[1:])  # the first is the image itself

    assert pilot_of() == 32  # of 64, the first batch: 13 matches are a fifth of them
    assert pilot_of(rescue=False) == 0
    assert pilot_of(keep=0.8) == 0


def test_the_pilot_sample_ends_when_a_fifth_of_matches_is_improbable() -> None:
    asked: list[int] = []

    def confidence(images: torch.Tensor) -> torch.Tensor:  # of nothing but the whole image
        asked.append(len(images))
        return (images.mean((1, 2, 3)) == 1).float()[:, None]

    plugin, whole = method("drise"), white_image(80, 64)
    plan = build_plan(detector([LEFT], confidence), whole, plugin, plugin.Parameters(grid=8), None, batch=4)
    assert sum(asked) == 1 + 24  # 0.8^21 is less than a hundredth; then keep is another
    assert plan.warnings == ("0% of masked images matched at keep 0.5; keep was raised to 0.8",)


def test_the_pilot_sample_is_a_part_of_the_first_block_of_the_same_problem() -> None:
    image = white_image(80, 64)
    asked: list[int] = []

    def confidence(images: torch.Tensor) -> torch.Tensor:
        asked.append(len(images))
        return patch(images, LEFT)[:, None]

    def block_of(changed: Callable[[ExplanationPlan], ExplanationPlan], **parameters: Any) -> tuple[Block, int]:
        plan = changed(
            study_of(detector([LEFT], confidence), image, method_name="drise", grid=8, fill="grey", **parameters)
        )
        asked.clear()
        return plan.pipeline().block(0), sum(asked)

    def with_another_score(plan: ExplanationPlan) -> ExplanationPlan:
        score = plan.problem.score
        return replace(plan, problem=replace(plan.problem, score=lambda masked: 2 * score(masked)))

    alone, all_masks = block_of(lambda plan: plan, rescue=False)
    resumed, fewer = block_of(lambda plan: plan)
    assert (all_masks, fewer) == (128, 96)
    np.testing.assert_array_equal(resumed.effects, alone.effects)
    np.testing.assert_array_equal(resumed.matched, alone.matched)
    doubled, again = block_of(with_another_score)
    assert again == 128
    np.testing.assert_allclose(doubled.effects, 2 * alone.effects, rtol=1e-5, atol=1e-7)


def test_boxes_are_in_pixels_of_the_image_whatever_the_model_s_input() -> None:
    image = white_image(160, 64)
    inner = detector([LEFT], lambda images: patch(images, LEFT)[:, None])
    letterboxed = Detector(inner.forward, inner.labels, Preprocessing(size=(64, 80), resize="letterbox"))
    study = study_of(letterboxed, image, method_name="drise", grid=8, masks=1000, until=1)
    box = study.resolved.targets[0].box
    assert box == pytest.approx((16, 8, 48, 48))
    assert inside(map_of(study, image).values[0], [16, 8, 48, 48])


def test_the_published_estimator_is_the_sum_of_masks_weighted_by_similarity() -> None:
    image = white_image(40, 32)
    black_box = detector([[0.0, 0, 40, 32]], lambda images: torch.full((len(images), 1), 1.0))
    study = study_of(black_box, image, method_name="drise", grid=4, masks=256, until=1, estimator="paper")
    drawn = map_of(study, image)
    assert drawn.values.mean() == pytest.approx(256 * 0.5, rel=0.05)  # similarity 1: the sum of all masks
