"""Cross-attention of image features to language features (paper, 3.3)."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn


class LanguageFusion(BaseModule):
    """Inject language features into one scale of image features.

    Every pixel attends to the words of the instruction; the result is added to the pixel, scaled per channel. The scale
    starts small, so that a pretrained detector sees nearly its own features at first.

    Args:
        embed_dims: Channels D of the image features.
        language_dims: Channels of the language features.
        num_heads: Attention heads.
        layer_scale: Initial value of the scale.
    """

    def __init__(self, embed_dims: int, language_dims: int, num_heads: int = 8, layer_scale: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dims)
        self.attention = nn.MultiheadAttention(
            embed_dims, num_heads, kdim=language_dims, vdim=language_dims, batch_first=True
        )
        self.scale = nn.Parameter(torch.full((embed_dims,), layer_scale))

    def forward(self, feature: Tensor, language: Tensor, language_mask: Tensor) -> Tensor:
        """Fuse.

        Args:
            feature: (B, D, H, W).
            language: (B, T, D_l).
            language_mask: (B, T) bool, True where there is a word.

        Returns:
            (B, D, H, W).
        """
        pixels = feature.flatten(2).transpose(1, 2)
        heard, _ = self.attention(
            self.norm(pixels), language, language, key_padding_mask=~language_mask, need_weights=False
        )
        return (pixels + self.scale * heard).transpose(1, 2).reshape(feature.shape)
