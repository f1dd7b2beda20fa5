"""Torch modules on a device: precision, memory layout, compilation, as the entry says; half precision on trial."""

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.blackbox import BlackBox, Classifier, Preprocessing, Segmenter
from workers.blackbox.preprocessing import normalise
from workers.explainer.targets import probabilities
from workers.model_io.model_entry import ModelEntry

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], Any]
_PROBE_SIDE = 224


def prepare_module(
    module: nn.Module, entry: ModelEntry, device: torch.device, make: Callable[[Forward], BlackBox]
) -> BlackBox:
    """Put a module where and how its entry says, and make a black box of it.

    Args:
        module: with its weights.
        entry: the model's entry.
        device: where it computes.
        make: from the module, or what stands for it, to the black box; called more than once.

    Raises:
        ValueError: if half precision moves probabilities by more than the entry's tolerance.
    """
    module = module.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
    black_box = replace(make(module), device=device)
    if entry.precision in {"float16", "bfloat16"}:
        black_box = _in_half(module, black_box, entry, make)
    if entry.channels_last or entry.compile:
        black_box = replace(make(_laid_out(module, entry)), device=device, dtype=black_box.dtype)
    if isinstance(black_box, Classifier):
        network = None if entry.compile else module
        black_box = replace(black_box, randomised=lambda seed: _randomised(module, seed, make), network=network)
    return black_box


def _in_half(module: nn.Module, whole: BlackBox, entry: ModelEntry, make: Callable[[Forward], BlackBox]) -> BlackBox:
    """Return the black box in half precision after a comparison with float32."""
    dtype = getattr(torch, entry.precision or "float32")
    before = _certainty(whole)
    half = replace(make(module.to(dtype)), device=whole.device, dtype=dtype)
    moved = float((_certainty(half) - before).abs().max())
    logger.info("%s moves probabilities by at most %.4f", entry.precision, moved)
    if not moved <= entry.tolerance:
        words = f"it moves probabilities by {moved:.3f}, more than tolerance = {entry.tolerance:g}"
        raise ValueError(f"precision = {entry.precision!r}: {words}")
    return half


def _certainty(black_box: BlackBox) -> Tensor:
    """Return how sure a black box is of each class in some pictures, `[B, C]`."""
    images = probe_batch(black_box.preprocessing).to(device=black_box.device, dtype=black_box.dtype)
    with torch.inference_mode():
        if isinstance(black_box, Classifier):
            return probabilities(black_box, black_box.forward(images))
        if isinstance(black_box, Segmenter):
            return probabilities(black_box, black_box.forward(images)).mean((2, 3))
        found = black_box.forward(images)
        return (found.classes.float() * found.objectness.float().unsqueeze(-1)).amax(1)


def probe_batch(preprocessing: Preprocessing) -> Tensor:
    """Return 8 smooth and 4 patchy coloured images as the model takes them, `[12, C, H, W]`: the same every time."""
    random = torch.Generator().manual_seed(0)
    size = preprocessing.size_for(_PROBE_SIDE, _PROBE_SIDE)
    smooth = functional.interpolate(torch.rand(8, 3, 6, 6, generator=random), size, mode="bilinear")
    # Of full colours, which leave the range of probabilities where scores are logits.
    patchy = functional.interpolate(torch.rand(4, 3, 6, 6, generator=random).round(), size, mode="nearest")
    return normalise(torch.cat([smooth, patchy]), preprocessing)


def _laid_out(module: nn.Module, entry: ModelEntry) -> Forward:
    """Return the module in its memory layout, compiled if the entry says so."""
    forward = _channels_last(module) if entry.channels_last else module
    return torch.compile(forward, dynamic=True) if entry.compile else forward


def _channels_last(module: nn.Module) -> Forward:
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda images: module(images.contiguous(memory_format=torch.channels_last))


def _randomised(module: nn.Module, seed: int, make: Callable[[Forward], BlackBox]) -> Classifier:
    """Return the same classifier with weights that were never trained."""
    other = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in other.modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
    black_box = make(other)
    assert isinstance(black_box, Classifier)
    return black_box
