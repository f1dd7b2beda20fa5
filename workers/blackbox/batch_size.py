"""The batch size of a model, measured when it is loaded."""

import time

import torch

from workers.blackbox import BlackBox

MAX_BATCH = 256
_FIRST_BATCH = 4
_SECONDS = 1.0  # of measured passes, so that loading a slow model does not take much longer
_PASSES = 5  # of which the fastest counts: what else the machine does only ever slows a pass
_GAIN = 1.05  # a larger batch must be faster by this much to be worth its memory
_SIZES_WITHOUT_GAIN = 2  # in a row, after which larger ones are not tried
_NUMBERS = 200_000_000  # pixel values of one batch, at most


def autotune_batch_size(black_box: BlackBox) -> int:
    """Return the smallest batch with about the highest throughput that fits into memory.

    Doubles the batch until two sizes in a row are no faster. First passes are not measured: on a GPU they load kernels,
    which takes longer than all others together (on an H100 a ResNet-50 was left at a batch of 4, eleven times slower
    than at 128). A model that takes images of any size is not measured and gets 32; one with a fixed batch size gets
    that size.
    """
    if black_box.fixed_batch is not None:
        return black_box.fixed_batch
    side = black_box.preprocessing.shortest_side
    size = black_box.preprocessing.size or (side and (side, side))
    if not size:
        return 32
    rates = _rates(black_box, (1 if black_box.preprocessing.channels == "grey" else 3, *size))
    best = max(rates.values(), default=0.0)
    return min((batch for batch, rate in rates.items() if rate * _GAIN >= best), default=1)


def _rates(black_box: BlackBox, shape: tuple[int, ...]) -> dict[int, float]:
    """Return images per second by batch size, until there is no gain, no memory or no time left."""
    rates: dict[int, float] = {}
    batch, seconds, without_gain = _FIRST_BATCH, 0.0, 0
    while batch <= MAX_BATCH and batch * torch.Size(shape).numel() <= _NUMBERS:
        fastest_before = max(rates.values(), default=0.0)
        try:
            fastest, spent = _fastest_pass(black_box, (batch, *shape))
        except torch.OutOfMemoryError:
            break
        rates[batch] = batch / fastest
        seconds += spent
        without_gain = 0 if rates[batch] > fastest_before * _GAIN else without_gain + 1
        if seconds > _SECONDS or without_gain == _SIZES_WITHOUT_GAIN:
            break
        batch *= 2
    return rates


def _fastest_pass(black_box: BlackBox, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the seconds of the fastest of a few passes after a warm-up, and of all of them."""
    images = torch.rand(shape, device=black_box.device, dtype=black_box.dtype)
    with torch.inference_mode():
        black_box.forward(images)
        seconds = [_seconds(black_box, images) for _ in range(_PASSES)]
    return min(seconds), sum(seconds)


def _seconds(black_box: BlackBox, images: torch.Tensor) -> float:
    """Return how long a pass takes with images that were just written, as the masking loop writes them."""
    _wait_for(images.device)
    started = time.perf_counter()
    images.mul_(0.999)
    black_box.forward(images)
    _wait_for(images.device)
    return time.perf_counter() - started


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
