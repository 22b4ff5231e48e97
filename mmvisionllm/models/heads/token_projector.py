"""How an image token enters the language model: our decision, the paper leaves it open."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TokenProjector(nn.Module):
    """``(e_i, l_i)`` -> one vector in the language model's space, at the scale of its word embeddings.

    The embedding goes through a linear layer and an MLP, the location through sine features and a linear layer; their sum
    is normalised and scaled to the standard deviation of the word embeddings, so that the language model meets image
    tokens as it meets words.

    Args:
        in_dims: Channels of e_i.
        out_dims: Hidden size of the language model.
        std: Standard deviation of its word embeddings.
        num_frequencies: Sine features per coordinate: wavelengths from 2 image sides down to 2 / 2^(n-1).
    """

    def __init__(self, in_dims: int, out_dims: int, std: float, num_frequencies: int = 8) -> None:
        super().__init__()
        self.std = std
        # What the alignment loss reads: in the sum as it is, so that an aligned token is close to its name's embedding.
        self.linear = nn.Linear(in_dims, out_dims)
        self.mlp = nn.Sequential(
            nn.Linear(in_dims, out_dims), nn.GELU(), nn.Linear(out_dims, out_dims)
        )
        # At first a token is its linear part alone: what the alignment teaches reads as a word from the start, before a
        # language model that meets noise instead has forgotten how to look words up.
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)
        self.location = nn.Linear(4 * num_frequencies, out_dims)
        # Where a token is shall not drown what it is: its location starts out as a small part of the sum.
        nn.init.normal_(self.location.weight, std=0.01)
        nn.init.zeros_(self.location.bias)
        self.norm = nn.LayerNorm(out_dims)
        self.num_frequencies = num_frequencies

    def forward(self, embeddings: Tensor, locations: Tensor) -> Tensor:
        """Project.

        Args:
            embeddings: (B, M, D) e_i.
            locations: (B, M, 2) l_i, normalised.

        Returns:
            (B, M, D_llm).
        """
        powers = 2.0 ** torch.arange(self.num_frequencies, device=locations.device)
        angles = (locations[..., None].float() * math.pi * powers).flatten(-2)
        features = torch.cat([angles.sin(), angles.cos()], -1).to(embeddings.dtype)
        return self.norm(
            self.linear(embeddings) + self.mlp(embeddings) + self.location(features)
        ) * self.std
