"""Masks of tiles: effects, error bars and fidelity are those of a grid, for fewer masks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.contract.saliency.error_bars import degrees_of_freedom, interval_factor, standard_error
from app.contract.saliency.geometry import BlockRenderer, Canvas, Viewport
from app.contract.saliency.running_moments import RunningMoments
from app.contract.saliency.tiling import Squares, Tiling
from app.contract.schemas import Box
from tests.workers.saliency.test_fidelity import block_of, blocks_of, scores_of, two_parts
from workers.explainer.grid import tiling_for
from workers.saliency.additive_fit import _predictions, cross_validated_r2
from workers.saliency.masks import one_hot_states
from workers.saliency.regression import effects_of_cells
from workers.saliency.sampling import MaskDesign

GRID = (12, 12)
REFINED: Squares = ((1, 1), (1, 2), (2, 1), (2, 2), (4, 5))
KEEPS = [0.5, 0.7]


def effects_of(design: MaskDesign, block: int, scores: torch.Tensor) -> torch.Tensor:
    hidden = one_hot_states(torch.from_numpy(design.sample(block)), design.fills)
    return effects_of_cells(scores, hidden, design.tiling, balanced=design.balanced)


def test_every_tile_of_a_balanced_block_is_kept_in_exactly_half_and_every_two_are_uncorrelated() -> None:
    design = MaskDesign(GRID, 0.5, 1, 3, REFINED)
    signs = 1 - 2 * design.sample(4).reshape(design.block_size, -1).astype(int)
    same = design.tiling.numbers.ravel()[:, None] == design.tiling.numbers.ravel()
    assert np.array_equal(signs.T @ signs, design.block_size * same)
    assert (signs.sum(0) == 0).all()


def test_a_block_needs_masks_for_tiles_and_not_for_cells() -> None:
    assert MaskDesign(GRID, 0.5, 1, 0, REFINED).block_size == 2 * 56  # 36 squares and 15 more cells
    assert MaskDesign(GRID, 0.5, 1, 0).block_size == 2 * 144
    assert MaskDesign(GRID, 0.8, 1, 0, REFINED).block_size == 128


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("fills", [1, 2])
def test_effects_of_a_score_that_is_a_sum_of_tiles_are_exact_and_shared_evenly(keep: float, fills: int) -> None:
    design = MaskDesign(GRID, keep, fills, 3, REFINED)
    worth = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (fills, design.tiling.count))).float()
    hidden = one_hot_states(torch.from_numpy(design.sample(1)), fills)
    of_tiles = hidden.flatten(2)[..., design.tiling.first_cells]
    scores = 3 - torch.einsum("knt,kt->n", of_tiles, worth)[:, None]
    expected = (worth / torch.from_numpy(design.tiling.sizes))[:, design.tiling.numbers]
    assert torch.allclose(effects_of(design, 1, scores)[0], expected, atol=2e-3)


@pytest.mark.parametrize("keep", KEEPS)
def test_fidelity_of_an_additive_model_is_1(keep: float) -> None:
    """Of one whose pixels are worth something near the refined squares only, as of an object."""
    canvas, design = Canvas(60, 60, GRID, (0, 0, 60, 60), 3, REFINED), MaskDesign(GRID, keep, 1, 3, REFINED)
    weights = torch.zeros(60, 60)
    weights[14:26, 14:26] = torch.outer(torch.hann_window(12), torch.hann_window(12)) / 36
    blocks = blocks_of(design, canvas, range(6), lambda masks: 0.2 + (masks * weights).sum((1, 2))[:, None])
    assert cross_validated_r2(canvas, design, blocks)[0] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("keep", KEEPS)
def test_the_error_in_closed_form_is_that_of_predicting_each_score(keep: float) -> None:
    canvas, design = Canvas(40, 40, (8, 8), (0, 0, 40, 40), 5, ((1, 1),)), MaskDesign((8, 8), keep, 1, 5, ((1, 1),))
    scores = [scores_of(design, canvas, number, two_parts) for number in range(2)]
    blocks = [block_of(design, number, of_block) for number, of_block in enumerate(scores)]
    visible = [1.0 - design.sample(number).reshape(-1, design.cells) for number in range(2)]
    own = [of_block[:, 0].double().numpy() for of_block in scores]
    at_expected = [
        values.mean() - (states.mean(0) - keep) @ block.effects[0].ravel()
        for values, states, block in zip(own, visible, blocks, strict=True)
    ]
    errors = []
    for predicted in _predictions(canvas, blocks):
        of_step = 0.0
        for number, (values, states) in enumerate(zip(own, visible, strict=True)):
            guessed = (states - states.mean(0)) @ predicted[number, 0].ravel()
            of_step += float((((values - values.mean()) - guessed) ** 2).mean())
        errors.append(of_step)
    apart = (at_expected[0] - at_expected[1]) ** 2
    total = sum(values.var() for values in own) + apart / 2
    assert cross_validated_r2(canvas, design, blocks)[0] == pytest.approx(
        1 - (min(errors) + 2 * apart) / total, abs=1e-3
    )


@pytest.mark.parametrize("blocks", [2, 3, 8])
def test_intervals_cover_near_a_target_and_far_from_it(blocks: int) -> None:
    """Where every tile's effect has the same noise, whatever its size."""
    canvas = Canvas(60, 60, GRID, (0, 0, 60, 60), 3, REFINED)
    tiling, pen, random = (
        canvas.tiling,
        BlockRenderer(canvas, Viewport(60, 60, (0, 0, 60, 60))),
        np.random.default_rng(1),
    )
    near = np.kron(tiling.alone, np.ones((5, 5), dtype=bool))
    covered = []
    for _ in range(60):
        moments = RunningMoments()
        for block in range(blocks):
            noise = random.normal(0, 1, tiling.count) / tiling.sizes
            moments.add(pen.block(noise[tiling.numbers].astype(np.float32), block)[None])
        error = standard_error(moments, tiling)
        assert error is not None
        assert moments.mean is not None
        covered.append(np.abs(moments.mean) <= interval_factor(degrees_of_freedom(blocks, published=False)) * error)
    share = np.mean(covered, axis=(0, 1))
    assert 0.94 <= share[near].mean() <= 0.995
    assert 0.94 <= share[~near].mean() <= 0.995


VIEW: Box = (0.0, 0.0, 100.0, 80.0)
boxes = st.tuples(st.floats(0, 95), st.floats(0, 75), st.floats(5, 100), st.floats(5, 80)).map(
    lambda drawn: (drawn[0], drawn[1], drawn[0] + drawn[2], drawn[1] + drawn[3])
)


def tile_at(tiling: Tiling, x: float, y: float) -> int:
    """Return the cells of the tile at a point, before any shift."""
    row, column = int(y / VIEW[3] * tiling.grid[0]), int(x / VIEW[2] * tiling.grid[1])
    return int(tiling.sizes[tiling.numbers[row, column]])


@given(st.lists(boxes, min_size=1, max_size=4))
def test_every_object_spans_three_tiles_or_the_tiles_are_the_finest(found: list[Box]) -> None:
    tiling = tiling_for(found, VIEW)
    for x0, y0, x1, y1 in found:
        right, bottom = min(x1, VIEW[2]), min(y1, VIEW[3])
        shorter = min((right - x0) / VIEW[2], (bottom - y0) / VIEW[3])
        middle = tile_at(tiling, (x0 + right) / 2, (y0 + bottom) / 2)
        cells = shorter * tiling.grid[0] / (1 if middle == 1 else 2)
        assert cells >= 3 - 1e-9 or (middle == 1 and tiling.grid == (16, 16))


@given(st.lists(boxes, min_size=1, max_size=4))
def test_there_are_never_more_tiles_than_on_the_coarsest_grid_that_is_fine_enough_for_all(found: list[Box]) -> None:
    tiling = tiling_for(found, VIEW)
    finer = [side for side in (6, 8, 10, 16) if side >= tiling.grid[0]]
    assert tiling.count <= finer[0] ** 2


def test_a_small_object_has_the_cells_around_it_to_itself_and_a_large_one_beside_it_needs_none() -> None:
    small, large = (40.0, 40.0, 60.0, 60.0), (0.0, 0.0, 100.0, 40.0)
    tiling = tiling_for([small, large], VIEW)
    assert tiling == tiling_for([small], VIEW)
    assert not tiling.is_uniform
    rows, columns = np.nonzero(tiling.alone)
    side = tiling.grid[0]
    assert rows.min() <= 0.5 * side - 1
    assert columns.min() <= 0.4 * side - 1
    assert rows.max() >= 0.75 * side
    assert columns.max() >= 0.6 * side


def test_what_an_additive_model_predicts_is_the_same_for_all_cells_of_a_tile() -> None:
    canvas, design = Canvas(60, 60, GRID, (0, 0, 60, 60), 3, REFINED), MaskDesign(GRID, 0.5, 1, 3, REFINED)
    blocks = blocks_of(design, canvas, range(3), two_parts)
    for predicted in _predictions(canvas, blocks):
        assert design.tiling.means(predicted) == pytest.approx(predicted)
