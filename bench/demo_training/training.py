"""The training loop of all demo models: AdamW, one cycle of the learning rate, first whole pictures, then masked ones.

One cycle: Smith and Topin 2018, arXiv:1708.07120. Whole pictures come first because a network that has never seen a
shape learns nothing from half a shape.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Generator, Tensor, nn

from bench.demo_training.masking import Mask, leave_whole, mask_at_random

Lose = Callable[[Tensor, Mask], Tensor]

_BATCH = 64
_LARGEST_RATE = 6e-3
_WARM_UP = 0.15


def fit(network: nn.Module, lose: Lose, *, pictures: int, epochs: int, seed: int) -> None:
    """Train a network in place and print its progress.

    Args:
        network: any network; its convolutions compute in the channels-last layout, which is faster on a CPU.
        lose: takes indices of pictures `[B]` and how to mask them, returns the loss of that batch.
        pictures: how many there are.
        epochs: how often each is seen.
        seed: of the order and the masks; the network's first weights are the caller's.
    """
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch knows it
    generator = Generator().manual_seed(seed)
    steps = epochs * (pictures // _BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LARGEST_RATE, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LARGEST_RATE, total_steps=steps, pct_start=_WARM_UP)
    for epoch in range(epochs):
        losses = []
        order = torch.randperm(pictures, generator=generator)[: steps // epochs * _BATCH]
        for rows in torch.split(order, _BATCH):
            mask = mask_at_random if cycle.last_epoch > _WARM_UP * steps else leave_whole
            loss = lose(rows, partial(mask, generator))
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            cycle.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {epochs}: loss {sum(losses) / len(losses):.3f}", flush=True)
