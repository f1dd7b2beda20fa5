import time

import pytest
import torch
from torch import Tensor

from workers.blackbox import BlackBox, Classifier, Preprocessing, batch_size
from workers.blackbox.batch_size import MAX_BATCH, autotune_batch_size


def model(*, room: int = MAX_BATCH) -> Classifier:
    def forward(images: Tensor) -> Tensor:
        if len(images) > room:
            raise torch.OutOfMemoryError("out of memory")
        return torch.zeros(len(images), 1)

    return Classifier(forward, ("it",), Preprocessing(size=(8, 8)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a pass and an image cost in seconds: no real clock decides these tests."""
    price = {"pass": 0.0, "image": 0.001}

    def seconds(black_box: BlackBox, images: Tensor) -> float:
        black_box.forward(images)
        return price["pass"] + price["image"] * len(images)

    monkeypatch.setattr(batch_size, "_seconds", seconds)
    monkeypatch.setattr(batch_size, "_SECONDS", 1e9)
    return price


def test_a_model_that_gains_nothing_from_batches_gets_small_ones(clock: dict[str, float]) -> None:
    clock["image"] = 0.003
    assert autotune_batch_size(model()) == 4


@pytest.mark.parametrize(("price", "batch"), [(0.001, 16), (0.01, 128), (1.0, MAX_BATCH)])
def test_the_dearer_a_pass_the_larger_the_batch(clock: dict[str, float], price: float, batch: int) -> None:
    clock["pass"] = price
    assert autotune_batch_size(model()) == batch


def test_one_size_that_happens_to_be_slow_does_not_end_the_search(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock["pass"] = 0.01
    measured = batch_size._seconds

    def disturbed(black_box: BlackBox, images: Tensor) -> float:
        return measured(black_box, images) * (3 if len(images) == 16 else 1)

    monkeypatch.setattr(batch_size, "_seconds", disturbed)
    assert autotune_batch_size(model()) == 128


def test_a_batch_that_does_not_fit_is_not_chosen(clock: dict[str, float]) -> None:
    clock["pass"] = 1.0
    assert autotune_batch_size(model(room=8)) == 8


def test_a_first_pass_that_takes_long_does_not_end_the_search(
    clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.update({"pass": 1e-3, "image": 1e-6})
    monkeypatch.setattr(batch_size, "_SECONDS", 0.5)
    calls: list[int] = []

    def forward(images: Tensor) -> Tensor:
        calls.append(len(images))
        time.sleep(0.6 if len(calls) == 1 else 0)  # as a GPU that loads its kernels
        return torch.zeros(len(images), 1)

    assert autotune_batch_size(Classifier(forward, ("it",), Preprocessing(size=(8, 8)))) == MAX_BATCH
