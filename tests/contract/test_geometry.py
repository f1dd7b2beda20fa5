import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.contract.saliency.geometry import (
    Axis,
    BlockRenderer,
    Canvas,
    Viewport,
    resampled,
    viewport_of_canvas,
    viewport_of_image,
)

sides = st.tuples(st.integers(1, 60), st.integers(1, 12)).map(lambda pair: Axis(*pair))


def slow_row(axis: Axis, shift: int, pixel: int) -> NDArray[np.float64]:
    """Interpolation weights of one pixel, straight from the definition: half-pixel centres, mirrored cells."""
    position = (pixel + shift + 0.5) * axis.cells / ((axis.cells + 1) * axis.cell) - 0.5
    weights = np.zeros(axis.cells)
    for cell in range(-2, axis.cells + 3):
        weight = max(0.0, 1 - abs(position - cell))
        place = cell
        while not 0 <= place < axis.cells:
            place = -place if place < 0 else 2 * (axis.cells - 1) - place
            if axis.cells == 1:
                place = 0
        weights[place] += weight
    return weights


def test_a_mask_row_of_two_cells_has_the_values_worked_out_by_hand() -> None:
    row = Axis(pixels=6, cells=2).rows(2) @ np.array([0, 1], dtype=np.float32)
    assert np.round(row, 4).tolist() == pytest.approx([0.0556, 0.2778, 0.5, 0.7222, 0.9444, 0.8333])


@given(sides, st.data())
def test_rows_are_the_definition_s_weights_at_every_shift(axis: Axis, data: st.DataObject) -> None:
    shift = data.draw(st.integers(0, axis.cell - 1))
    pixel = data.draw(st.integers(0, axis.pixels - 1))
    assert np.allclose(axis.rows(shift)[pixel], slow_row(axis, shift, pixel), atol=1e-6)


@given(sides)
def test_every_pixel_is_kept_as_often_as_a_cell_at_every_shift(axis: Axis) -> None:
    for shift in range(axis.cell):
        assert np.allclose(axis.rows(shift).sum(1), 1, atol=1e-5)
        assert axis.rows(shift).shape == (axis.pixels, axis.cells)


def test_the_second_moment_is_the_variance_of_simulated_masks() -> None:
    vertical, horizontal = Axis(30, 4), Axis(23, 5)
    random = np.random.default_rng(0)
    masks = []
    for _ in range(20_000):
        rows = vertical.rows(int(random.integers(vertical.cell)))
        columns = horizontal.rows(int(random.integers(horizontal.cell)))
        masks.append(rows @ (random.random((4, 5)) < 0.3).astype(np.float32) @ columns.T)
    expected = 0.3 * 0.7 * np.outer(vertical.second_moment(), horizontal.second_moment())
    assert np.allclose(np.var(masks, axis=0), expected, rtol=0.08)
    assert np.allclose(np.mean(masks, axis=0), 0.3, atol=0.02)


def canvas(**changes: object) -> Canvas:
    values = {"height": 40, "width": 56, "grid": (5, 7), "view": (0.0, 0.0, 56.0, 40.0), "seed": 3, **changes}
    return Canvas(**values)  # type: ignore[arg-type]


def test_shifts_are_a_pure_function_of_seed_and_block_and_cover_the_cell_evenly() -> None:
    shifts = [canvas().shift(block) for block in range(256)]
    assert shifts == [canvas().shift(block) for block in range(256)]
    assert shifts != [canvas(seed=4).shift(block) for block in range(256)]
    counts = np.zeros((8, 8))
    for dy, dx in shifts:
        counts[dy, dx] += 1
    assert counts.min() >= 2
    assert counts.max() <= 6


def test_a_map_drawn_small_is_the_map_drawn_large_and_resampled() -> None:
    effects = np.random.default_rng(1).normal(size=(2, 1, 5, 7)).astype(np.float32)
    scene = canvas()
    whole = viewport_of_canvas(scene, max_side=1000)
    large = BlockRenderer(scene, whole).block(effects, 6)
    small_frame = viewport_of_image(56, 40, max_side=20)
    assert np.allclose(
        BlockRenderer(scene, small_frame).block(effects, 6), resampled(large, whole, small_frame), atol=1e-5
    )
    assert large.shape == (2, 1, 40, 56)


def test_pixels_that_the_canvas_does_not_show_are_zero() -> None:
    cropped = canvas(view=(10.0, 0.0, 50.0, 40.0))
    drawn = BlockRenderer(cropped, viewport_of_image(60, 40)).block(np.ones((1, 5, 7), dtype=np.float32), 0)[0]
    assert (drawn[:, :10] == 0).all()
    assert (drawn[:, 50:] == 0).all()
    assert (drawn[:, 10:50] > 0).all()


def test_resampling_to_the_same_frame_changes_nothing() -> None:
    values = np.random.default_rng(2).normal(size=(1, 6, 9)).astype(np.float32)
    frame, shifted = Viewport(6, 9, (0.0, 0.0, 9.0, 6.0)), Viewport(6, 9, (0.0, 0.0, 9.0, 6.0001))
    assert np.array_equal(resampled(values, frame, frame), values)
    assert np.allclose(resampled(values, frame, shifted), values, atol=1e-3)
