"""From states of cells to masked images: two small batched products and one fused multiply-add.

Up-sampling and crop of RISE masks are linear and separable (see `app/contract/saliency/geometry.py`), so a batch of
masks is `rows @ cells @ columns.T`; nothing is stored, and there is no loop over masks.
"""

import torch
from torch import Tensor


def one_hot_states(states: Tensor, fills: int) -> Tensor:
    """Return which fill hides each cell.

    Args:
        states: `[B, h, w]`, 0 keeps, k hides by fill k.
        fills: number of fills K.

    Returns:
        `[K, B, h, w]` of 0 and 1, float32.
    """
    if fills == 1:
        return (states != 0).float()[None]
    numbers = torch.arange(1, fills + 1, device=states.device, dtype=states.dtype)
    return (states[None] == numbers.view(-1, 1, 1, 1)).float()


def render(cells: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Draw cells as pixels.

    Args:
        cells: `[..., h, w]`.
        rows: `[..., H, h]` interpolation weights.
        columns: `[..., W, w]` interpolation weights.

    Returns:
        `[..., H, W]`.
    """
    return rows @ (cells @ columns.mT)


def blend(image: Tensor, differences: Tensor, hidden: Tensor, *, out: Tensor) -> Tensor:
    """Hide parts of an image.

    Args:
        image: `[3, H, W]`.
        differences: fill minus image, `[K, 3, H, W]`.
        hidden: how much each fill hides, 0..1, `[K, B, H, W]`.
        out: memory for at least B images; fresh allocations of that size cost more than the arithmetic.

    Returns:
        Masked images `[B, 3, H, W]` in the image's precision: a part of `out`.
    """
    masked = out[: hidden.shape[1]]
    torch.addcmul(image, hidden[0].unsqueeze(1).to(image.dtype), differences[0], out=masked)
    for fill in range(1, len(differences)):
        masked.addcmul_(hidden[fill].unsqueeze(1).to(image.dtype), differences[fill])
    return masked
