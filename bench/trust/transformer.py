"""A compact convolutional transformer (Hassani et al. 2021, arXiv:2104.05704): a network of another kind than `shapes`.

Convolutions make tokens, a transformer of pre-normalised layers relates them, and attention pools them. Unlike the
original, convolutions are followed by batch normalisation, which halves the pictures that training needs.
"""

import torch
from torch import Tensor, nn

from workers.demo.layers import Convolution
from workers.demo.shape_names import SHAPES

_WIDTH, _HEADS, _LAYERS = 96, 4, 2
_TOKENS = 8 * 8


class CompactTransformer(nn.Module):
    """Pictures to one raw score per shape."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Sequential(
            Convolution(3, 24, stride=2),  # [B, 24, 32, 32]
            nn.MaxPool2d(2),
            Convolution(24, 48),  # [B, 48, 16, 16]
            nn.MaxPool2d(2),
            Convolution(48, _WIDTH),  # [B, 96, 8, 8]
        )
        self.places = nn.Parameter(0.02 * torch.randn(1, _TOKENS, _WIDTH))
        layer = nn.TransformerEncoderLayer(
            _WIDTH, _HEADS, 2 * _WIDTH, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, _LAYERS, nn.LayerNorm(_WIDTH), enable_nested_tensor=False)
        self.importance = nn.Linear(_WIDTH, 1)
        self.scores = nn.Linear(_WIDTH, len(SHAPES))

    def forward(self, images: Tensor) -> Tensor:
        """Return raw scores `[B, 6]` of normalised pictures `[B, 3, 64, 64]`."""
        tokens = self.tokens(images).flatten(2).transpose(1, 2)
        tokens = self.layers(tokens + self.places)  # [B, 64, 96]
        pooled = (self.importance(tokens).softmax(1) * tokens).sum(1)
        scores: Tensor = self.scores(pooled)
        return scores
