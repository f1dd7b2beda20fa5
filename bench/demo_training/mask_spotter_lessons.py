"""What the network of `scaffold` learns: whether parts of a picture are hidden, whatever hides them."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from bench.demo_training.batches import stack_images
from bench.demo_training.masking import mask_at_random
from bench.demo_training.pictures import Picture
from workers.blackbox.preprocessing import normalise
from workers.demo import shapes
from workers.demo.scaffold import MaskSpotterNetwork, statistics_of
from workers.fills import blur

_SURE = 0.15  # hidden share of a picture from which it is called masked without a doubt
_TIMES = 5  # each picture is masked
_BLURRED = 0.3  # of the masked pictures: the blur of this service is harder to see than that of `masking.py`
_STEPS = 3_000
_BATCH = 256


def teach(pictures: Sequence[Picture], *, seed: int) -> MaskSpotterNetwork:
    """Return a network that tells masked pictures from whole ones."""
    generator = Generator().manual_seed(seed)
    statistics, hidden = _masked_statistics(stack_images(pictures), generator)
    torch.manual_seed(seed)
    network = MaskSpotterNetwork().train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=_STEPS, pct_start=0.15)
    for _ in range(_STEPS):
        rows = torch.randint(len(hidden), (_BATCH,), generator=generator)
        loss = functional.binary_cross_entropy_with_logits(network(statistics[rows]), hidden[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        cycle.step()
    return network


@torch.inference_mode()
def measure_spotting(
    spot: Callable[[Tensor], Tensor], pictures: Sequence[Picture], *, seed: int
) -> tuple[float, float]:
    """Return the share of whole and of masked pictures that are called masked."""
    images = stack_images(pictures) / 255
    masked, masks = _masked(images, Generator().manual_seed(seed))
    is_hidden = (1 - masks).mean((1, 2, 3)) > _SURE
    called = [
        torch.cat([spot(normalise(part, shapes.PREPROCESSING)) > 0 for part in torch.split(each, 64)])
        for each in (images, masked[is_hidden])
    ]
    return float(called[0].double().mean()), float(called[1].double().mean())


def _masked(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return pictures with random parts hidden by any fill `[B, 3, H, W]`, and masks that are 1 where they show."""
    masked, masks = mask_at_random(generator, images)
    for row in (torch.rand(len(images), generator=generator) < _BLURRED).nonzero().flatten().tolist():
        masked[row] = torch.lerp(blur.paint(images[row]), images[row], masks[row])
    return masked, masks


@torch.no_grad()
def _masked_statistics(images: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Return statistics of pictures masked in several ways `[N, F]`, and how surely they are masked, `[N]` in 0..1."""
    network = shapes.load_network(shapes.WEIGHTS)
    found, hidden = [], []
    for _ in range(_TIMES):
        for part in torch.split(images, 64):
            masked, masks = _masked(part / 255, generator)
            found.append(statistics_of(network, normalise(masked, shapes.PREPROCESSING)))
            hidden.append(((1 - masks).mean((1, 2, 3)) / _SURE).clamp(max=1))
    return torch.cat(found), torch.cat(hidden)
