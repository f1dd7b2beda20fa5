"""The batch size of a model, measured when it is loaded."""

import time

import torch

from workers.blackbox import BlackBox

MAX_BATCH = 256
_FIRST_BATCH = 4
_SECONDS = 0.5  # of measured passes, so that loading a slow model does not take much longer
_PASSES = 2
_GAIN = 1.05  # a larger batch must be faster by this much to be worth its memory
_NUMBERS = 200_000_000  # pixel values of one batch, at most


def autotune_batch_size(black_box: BlackBox) -> int:
    """Return the smallest batch with about the highest throughput that fits into memory.

    Doubles the batch while throughput grows. First passes are not measured: on a GPU they load kernels, which takes
    longer than all others together (on an H100 a ResNet-50 was left at a batch of 4, eleven times slower than at 128).
    A model that takes images of any size is not measured and gets 32; one with a fixed batch size gets that size.
    """
    if black_box.fixed_batch is not None:
        return black_box.fixed_batch
    side = black_box.preprocessing.shortest_side
    size = black_box.preprocessing.size or (side and (side, side))
    if not size:
        return 32
    shape = (1 if black_box.preprocessing.channels == "grey" else 3, *size)
    best, best_rate, batch, seconds = 1, 0.0, _FIRST_BATCH, 0.0
    while batch <= MAX_BATCH and batch * torch.Size(shape).numel() <= _NUMBERS:
        try:
            rate = _images_per_second(black_box, (batch, *shape))
        except torch.OutOfMemoryError:
            break
        if rate <= best_rate * _GAIN:
            break
        best, best_rate = batch, rate
        seconds += _PASSES * batch / rate
        if seconds > _SECONDS:
            break
        batch *= 2
    return best


def _images_per_second(black_box: BlackBox, shape: tuple[int, ...]) -> float:
    """Return the best throughput of a few forward passes after a warm-up."""
    images = torch.rand(shape, device=black_box.device, dtype=black_box.dtype)
    with torch.inference_mode():
        black_box.forward(images)
        return max(shape[0] / _seconds(black_box, images) for _ in range(_PASSES))


def _seconds(black_box: BlackBox, images: torch.Tensor) -> float:
    _wait_for(images.device)
    started = time.perf_counter()
    black_box.forward(images)
    _wait_for(images.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
