"""Interaction share and fidelity are exact for models whose interactions are known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.contract.saliency.geometry import Canvas
from tests.support.black_boxes import classifier, noise_image, study_of
from workers.explainer.convergence import Convergence
from workers.explainer.plan import ExplanationPlan
from workers.saliency.additive_fit import FittedBlock, _predictions, cross_validated_r2
from workers.saliency.masks import one_hot_states
from workers.saliency.regression import effects_of_cells
from workers.saliency.sampling import MaskDesign
from workers.saliency.score_moments import EVEN_VARIANCE, VARIANCE, score_moments

GRIDS = [(4, 4), (7, 7), (3, 5)]
Polynomial = Callable[[Tensor], Tensor]
"""States of -1 and 1, `[N, cells]` -> scores `[N]`."""


def share_of(polynomial: Polynomial, grid: tuple[int, int], block: int = 0) -> float:
    """Return the interaction share of a score over the states of one Hadamard block."""
    states = 1.0 - 2.0 * torch.from_numpy(MaskDesign(grid, 0.5, 1, 7).sample(block)).flatten(1).float()
    moments = score_moments(polynomial(states).unsqueeze(1), folded=True)[0]
    return float(moments[EVEN_VARIANCE] / moments[VARIANCE])


@pytest.mark.parametrize("grid", GRIDS)
def test_an_additive_score_has_no_interactions(grid: tuple[int, int]) -> None:
    assert share_of(lambda s: 0.3 + s @ torch.linspace(-1, 2, s.shape[1]), grid) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_pair_is_nothing_but_interaction(grid: tuple[int, int]) -> None:
    assert share_of(lambda s: 2 + s[:, 0] * s[:, 4], grid) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_share_of_a_pair_beside_two_cells_is_that_of_its_square(grid: tuple[int, int]) -> None:
    # Variance 1 + 4 of the cells, 9 of the pair: 9 / 14.
    found = share_of(lambda s: s[:, 1] + 2 * s[:, 3] + 3 * s[:, 5] * s[:, 8], grid)
    assert found == pytest.approx(9 / 14, abs=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_product_of_three_is_of_odd_order_and_no_part_of_the_share(grid: tuple[int, int]) -> None:
    assert share_of(lambda s: s[:, 0] * s[:, 1] * s[:, 2], grid) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("order", [2, 3])
def test_cells_that_are_all_needed_have_the_share_of_their_closed_form(order: int) -> None:
    """1 where the first cells are all visible: prod (1 + s) / 2, 2^-n of every product of them, over many blocks."""
    even = {2: 1, 3: 3}[order]  # products of even order; all products are 2^n - 1
    found = np.mean([share_of(lambda s: ((1 + s[:, :order]) / 2).prod(1), (8, 8), block) for block in range(50)])
    assert found == pytest.approx(even / (2**order - 1), abs=0.03)


def scores_of(design: MaskDesign, canvas: Canvas, number: int, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the scores of the masks of a block."""
    visible = 1 - torch.from_numpy(design.sample(number)).float()
    vertical, horizontal = (
        torch.from_numpy(axis.rows(shift)) for axis, shift in zip(canvas.axes, canvas.shift(number), strict=True)
    )
    return score(vertical @ visible @ horizontal.T).float()


def blocks_of(
    design: MaskDesign, canvas: Canvas, numbers: range, score: Callable[[Tensor], Tensor]
) -> list[FittedBlock]:
    """Return blocks of scores `[N, T]` of masks `[N, H, W]`."""
    return [block_of(design, number, scores_of(design, canvas, number, score)) for number in numbers]


def block_of(design: MaskDesign, number: int, scores: Tensor) -> FittedBlock:
    hidden = one_hot_states(torch.from_numpy(design.sample(number)), design.fills)
    effects = effects_of_cells(scores, hidden, design.tiling, balanced=design.balanced).numpy().astype(float)
    moments = score_moments(scores, folded=design.balanced).numpy().astype(float)
    return FittedBlock(number, effects, moments)


def bump(height: int, width: int) -> Tensor:
    """Return weights of pixels that vary over some cells, as what a smooth additive model sees."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return (torch.exp(-3 * ((y - 0.2) ** 2 + (x + 0.3) ** 2)) - 0.3) / (height * width)


@pytest.mark.parametrize(("keep", "grid"), [(0.5, (8, 8)), (0.5, (5, 7)), (0.7, (5, 7))])
def test_fidelity_of_an_additive_model_is_1(keep: float, grid: tuple[int, int]) -> None:
    canvas = Canvas(56, 70, grid, (0, 0, 70, 56), 3)
    weights = torch.stack([bump(56, 70), -2 * bump(56, 70).flip(1)])
    blocks = blocks_of(
        MaskDesign(grid, keep, 1, 3), canvas, range(4), lambda masks: 0.2 + torch.einsum("nhw,thw->nt", masks, weights)
    )
    assert cross_validated_r2(canvas, MaskDesign(grid, keep, 1, 3), blocks) == pytest.approx([1, 1], abs=0.01)


def test_fidelity_of_any_weights_of_pixels_comes_to_1_with_the_number_of_blocks() -> None:
    canvas, design = Canvas(24, 24, (6, 6), (0, 0, 24, 24), 1), MaskDesign((6, 6), 0.5, 1, 1)
    weights = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (24, 24))).float()
    blocks = blocks_of(design, canvas, range(16), lambda masks: (masks * weights).sum((1, 2))[:, None] / 576)
    found = [float(cross_validated_r2(canvas, design, blocks[:count])[0]) for count in (2, 4, 16)]
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.99


def two_parts(masks: Tensor) -> Tensor:
    """A product of two regions beside a sum of all."""
    return (masks[:, 5:20, 5:20].mean((1, 2)) * masks[:, 22:30, 3:20].mean((1, 2)) + masks.mean((1, 2)))[:, None]


def test_the_error_in_closed_form_is_that_of_predicting_each_score() -> None:
    canvas, design = Canvas(40, 40, (4, 4), (0, 0, 40, 40), 5), MaskDesign((4, 4), 0.5, 1, 5)
    blocks = blocks_of(design, canvas, range(2), two_parts)
    scores = [scores_of(design, canvas, number, two_parts)[:, 0].double().numpy() for number in range(2)]
    errors = [
        sum(_squared_error(design, scores, number, predicted[number, 0].ravel()) for number in range(2))
        for predicted in _predictions(canvas, blocks)
    ]
    expected = 1 - min(errors) / sum(((own - np.mean(scores)) ** 2).mean() for own in scores)
    assert cross_validated_r2(canvas, design, blocks)[0] == pytest.approx(expected, abs=1e-5)


def _squared_error(
    design: MaskDesign, scores: list[NDArray[np.float64]], number: int, effects: NDArray[np.float64]
) -> float:
    visible = 1.0 - design.sample(number).reshape(-1, design.cells)
    predicted = scores[1 - number].mean() + (visible - 0.5) @ effects
    return float(((scores[number] - predicted) ** 2).mean())


@pytest.mark.parametrize(("order", "expected"), [(2, 2 / 3), (3, 3 / 7)])
def test_the_fidelity_of_cells_that_are_all_needed_is_their_main_effects(order: int, expected: float) -> None:
    """Of 2^n - 1 products of n states, each with the same variance, n are main effects."""
    canvas, design = Canvas(8, 8, (8, 8), (0, 0, 8, 8), 2), MaskDesign((8, 8), 0.5, 1, 2)  # cells of a pixel: one shift
    blocks = []
    for number in range(16):
        visible = 1 - torch.from_numpy(design.sample(number)).float().flatten(1)
        blocks.append(block_of(design, number, visible[:, 10 : 10 + order].prod(1, keepdim=True)))
    found = cross_validated_r2(canvas, design, blocks)[0]
    assert found == pytest.approx(expected, abs=1e-3 if order == 2 else 0.05)  # a product of three is like main effects


def converged(plan: ExplanationPlan) -> Convergence:
    convergence = Convergence(plan)
    for block in plan.run():
        convergence.add(block)
    return convergence


@pytest.mark.parametrize("parameters", [{}, {"keep": 0.7}, {"method_name": "mc-rise", "colors": ["black", "white"]}])
def test_a_linear_black_box_adds_up_whatever_the_masks(parameters: dict[str, Any]) -> None:
    weights = bump(48, 48)
    black_box = classifier(lambda images: 0.5 + (images.mean(1) * weights).sum((1, 2)))
    statistics = converged(
        study_of(black_box, noise_image(48, 48), masks=600, until=1, grid=6, **parameters)
    ).statistics
    assert statistics is not None
    assert statistics.fidelity()[0] == pytest.approx(1, abs=0.08)  # noise of pixels is finer than any cell
    assert statistics.interaction_share() == [None if parameters else pytest.approx(0, abs=1e-6)]


def test_a_constant_model_has_neither_figure() -> None:
    black_box = classifier(lambda images: 0 * images.mean((1, 2, 3)) + 0.7)
    statistics = converged(study_of(black_box, noise_image(24, 24), masks=256, until=1, grid=4)).statistics
    assert statistics is not None
    assert statistics.fidelity() == [None]
    assert statistics.interaction_share() == [None]


def test_one_block_is_too_little_for_either() -> None:
    black_box = classifier(lambda images: images.mean((1, 2, 3)))
    statistics = converged(study_of(black_box, noise_image(24, 24), masks=1, until=1, grid=4)).statistics
    assert statistics is not None
    assert statistics.fidelity() == [None]
    assert statistics.interaction_share() == [None]


def test_the_relevance_of_cells_is_highest_where_the_model_looks() -> None:
    black_box = classifier(lambda images: images[:, :, 8:16, 32:40].mean((1, 2, 3)))
    plan = study_of(black_box, noise_image(48, 48), masks=500, until=1, grid=6)
    statistics = converged(plan).statistics
    assert statistics is not None
    relevance = statistics.relevance()[0, 0]
    rows, columns = (
        axis.rows(shift) for axis, shift in zip(plan.problem.canvas.axes, plan.problem.canvas.shift(0), strict=True)
    )
    seen = rows[8:16].sum(0)[:, None] * columns[32:40].sum(0)[None]
    assert relevance.argmax() == seen.argmax()
