"""Blocks from a device that takes its time: what runs ahead, and what that must not change.

`Late` stands for the event that says when a block has arrived; tests/workers/saliency/test_gpu.py has real ones.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract.saliency.geometry import Canvas
from workers.saliency.estimators import BatchSteps, MaskingProblem, PendingBlock
from workers.saliency.pipeline import BlockPipeline

BLOCKS, BATCHES = 6, 3


class Late:
    """The arrival of a block that is never there before somebody waits for it."""

    def query(self) -> bool:
        return False

    def synchronize(self) -> None:
        pass


@dataclass
class Device:
    """Launches blocks, and notes each batch; memory runs out above a batch of `room`."""

    launched: list[tuple[int, int]]
    room: int = 8
    late: bool = True

    def launch(self, scene: MaskingProblem, block: int, _: torch.Tensor) -> BatchSteps[PendingBlock]:
        for batch in range(BATCHES):
            if scene.batch > self.room:
                raise torch.OutOfMemoryError("out of memory")
            self.launched.append((block, batch))
            yield
        numbers = torch.full((1, 1, 2, 2), float(block))
        return PendingBlock(block, 8, numbers, torch.ones(1), cast(Any, Late() if self.late else None))

    def pipeline(self, batch: int = 8, halved: list[int] | None = None) -> BlockPipeline:
        canvas = Canvas(4, 4, (2, 2), (0.0, 0.0, 4.0, 4.0), 0)
        scene = MaskingProblem(torch.zeros(3, 4, 4), torch.zeros(1, 3, 4, 4), canvas, lambda images: images, batch)
        noted = halved if halved is not None else []
        return BlockPipeline(scene, self.launch, BLOCKS, when_halved=lambda: noted.append(1))


def test_while_a_block_is_on_its_way_one_batch_of_the_next_is_launched_and_no_more() -> None:
    device = Device([])
    device.pipeline().block(0)
    assert device.launched == [(0, 0), (0, 1), (0, 2), (1, 0)]


def test_what_ran_ahead_is_gone_on_with_and_not_done_again() -> None:
    device = Device([])
    pipeline = device.pipeline()
    for number in range(BLOCKS):
        assert pipeline.block(number).index == number
    assert device.launched == [(block, batch) for block in range(BLOCKS) for batch in range(BATCHES)]


def test_nothing_runs_ahead_where_everything_is_there_at_once() -> None:
    device = Device([], late=False)
    device.pipeline().block(0)
    assert device.launched == [(0, 0), (0, 1), (0, 2)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, BLOCKS - 1), st.integers(0, 4)), max_size=12))
def test_blocks_are_right_in_any_order_whatever_memory_there_is(asked: list[tuple[int, int]]) -> None:
    device = Device([])
    pipeline = device.pipeline(batch=8)
    for number, lost in asked:
        device.room = max(1, device.room >> lost)
        block = pipeline.block(number)
        assert (block.index, block.masks) == (number, 8)
        assert np.all(block.effects == number)


def test_memory_that_runs_out_ahead_of_time_is_seen_to_when_the_turn_comes() -> None:
    device, halved = Device([]), list[int]()
    pipeline = device.pipeline(halved=halved)
    pipeline.block(0)
    device.room = 2
    assert pipeline.block(1).index == 1
    assert len(halved) == 2
    assert pipeline.block(2).index == 2


def test_where_not_even_one_image_fits_that_is_the_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Device([], room=0).pipeline().block(0)
