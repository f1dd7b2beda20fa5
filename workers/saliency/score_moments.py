"""Mean and variance of a block's scores, and the variance that interactions of even order make of it.

A Hadamard block is a design with its fold-over (Box and Wilson, Journal of the Royal Statistical Society B 13, 1951):
its second half has the opposite state of every cell. Of a score written as a polynomial in states of -1 and 1, terms of
odd order change their sign under the fold-over and terms of even order do not. So `(y(s) + y(-s)) / 2` is what pairs,
quadruples and so on of cells do together, and its share of the variance is that of these interactions: exactly, because
odd and even terms are orthogonal over the block.
"""

import torch
from torch import Tensor

MEAN, VARIANCE, EVEN_VARIANCE = range(3)
"""Columns of the moments."""

MOMENTS = 3


def score_moments(scores: Tensor, *, folded: bool) -> Tensor:
    """Return mean, variance and variance of the even part of a block's scores.

    Args:
        scores: `[N, R]`, float32.
        folded: whether mask i + N/2 has the opposite states of mask i.

    Returns:
        `[R, 3]`; the last is NaN where the masks are not folded.
    """
    mean, variance = scores.mean(0), scores.var(0, correction=0)
    if folded:
        first, second = scores.chunk(2)
        even = ((first + second) / 2).var(0, correction=0)
    else:
        even = torch.full_like(mean, torch.nan)
    return torch.stack([mean, variance, even], dim=1)
