"""How an image token enters the language model: our decision, the paper leaves it open."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class TokenProjector(nn.Module):
    """``(e_i, l_i)`` -> one vector in the language model's space, at the scale of its word embeddings.

    The embedding goes through a linear layer and an MLP, the location through sine features and a linear layer. The
    former side is normalized before they are added; the sum is normalized and scaled to the standard deviation of the
    word embeddings, so that the language model meets image tokens as it meets words.

    Args:
        in_dims: Channels of e_i.
        out_dims: Hidden size of the language model.
        std: Standard deviation of its word embeddings.
        num_coordinates: Numbers that tell where a token is: 2 of its location, or 4 of its box.
        num_frequencies: Sine features per coordinate: wavelengths from 2 image sides down to 2 / 2^(n-1).
    """

    def __init__(
        self, in_dims: int, out_dims: int, std: float, num_coordinates: int = 2, num_frequencies: int = 8
    ) -> None:
        super().__init__()
        self.std = std
        self.num_frequencies = num_frequencies
        self.linear = nn.Linear(in_dims, out_dims)
        # Small, so that what is learned soon outweighs what was there at random.
        nn.init.xavier_uniform_(self.linear.weight, gain=0.3)
        self.mlp = nn.Sequential(nn.Linear(in_dims, out_dims), nn.GELU(), nn.Linear(out_dims, out_dims))
        # At first a token is its linear part alone, which may begin as the names of what the tokens show.
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)
        self.content_norm = nn.LayerNorm(out_dims, elementwise_affine=False)
        features = 2 * num_coordinates * num_frequencies
        self.location = nn.Linear(features, out_dims)
        # Of the features' squares, half add up: a standard deviation of 0.5, so that where a token is does not drown what
        # it is.
        nn.init.normal_(self.location.weight, std=0.5 * math.sqrt(2 / features))
        nn.init.zeros_(self.location.bias)
        self.norm = nn.LayerNorm(out_dims)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        key = f'{prefix}location.weight'
        weight = state_dict.get(key)
        if weight is not None and weight.size(1) == 2 * self.location.in_features:
            # Of one that enters boxes, what it has learned of their centers.
            state_dict[key] = weight.unflatten(1, (2, 2, -1))[:, :, 0].flatten(1)
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def start_from_classes(self, weight: Tensor, bias: Tensor, names: Tensor) -> None:
        """Let tokens begin as the names of what they show, by a detector's class branch.

        The linear layer becomes the sum of the classes' names, weighted by what each of their logits is above their mean.

        Args:
            weight: (C, in_dims) of the class branch on e_i.
            bias: (C,).
            names: (C, out_dims) the language model's embeddings of the classes' names.
        """
        weight, bias, names = (t.detach().float().to(self.linear.weight.device) for t in (weight, bias, names))
        start, shift = (names.T @ (part - part.mean(0)) for part in (weight, bias))
        # As large as it was: steps of the optimizer are.
        scale = self.linear.weight.norm() / start.norm()
        self.linear.weight.copy_(start * scale)
        self.linear.bias.copy_(shift * scale)

    def forward(self, embeddings: Tensor, coordinates: Tensor) -> Tensor:
        """Project.

        Args:
            embeddings: (B, M, D) e_i.
            coordinates: (B, M, num_coordinates) l_i, and width and height where they are entered, too; normalized.

        Returns:
            (B, M, D_llm).
        """
        content = self.linear(embeddings) + self.mlp(embeddings)
        return self.place(content, coordinates)

    def place(self, content: Tensor, coordinates: Tensor) -> Tensor:
        """Put what is already in the language model's space, (B, M, D_llm), to a place; arguments as above."""
        powers = 2.0 ** torch.arange(self.num_frequencies, device=coordinates.device)
        angles = (coordinates[..., None].float() * math.pi * powers).flatten(-2)
        features = torch.cat([angles.sin(), angles.cos()], -1).to(content.dtype)
        return self.norm(self.content_norm(content) + self.location(features)) * self.std
