"""Input and output embeddings of the added tokens, beside the language model's untouched matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmvisionllm.instructions import Vocabulary

LOGIT_STD = 0.4
"""Of the added tokens' first logits: a cross-entropy then begins 0.08 above that of a uniform guess."""


def sine_table(num_bins: int, dims: int) -> Tensor:
    """(num_bins, dims) sine and cosine features of the bins, unit mean square.

    Neighboring bins are similar, far ones are not: the location tokens start out as an ordered scale, and a hidden state
    can point at a bin it has never been trained on. Wavelengths run geometrically from 4 image sides to 4 bins.
    """
    half = dims // 2
    position = torch.linspace(-1, 1, num_bins, dtype=torch.float64)[:, None]
    longest, shortest = 4.0, 8.0 / num_bins
    wavelengths = longest * (shortest / longest) ** (torch.arange(half, dtype=torch.float64) / max(half - 1, 1))
    angles = 2 * math.pi * position / wavelengths
    table = torch.zeros(num_bins, dims, dtype=torch.float64)
    table[:, :half], table[:, half : 2 * half] = angles.sin(), angles.cos()
    return (table * math.sqrt(2)).float()


class AddedEmbedding(nn.Module):
    """Trainable rows for the added tokens.

    The rows that hidden states are scored against are so short that the first logits differ by :data:`LOGIT_STD`,
    whatever the norm of a language model's hidden states: the first losses are nearly those of a uniform guess.

    Args:
        vocabulary: The added tokens.
        dims: Hidden size of the language model.
        std: Standard deviation of its word embeddings, the scale at which ours enter.
        hidden_norm: Norm of its last hidden states.

    Attributes:
        input: (V, dims) embeddings as inputs.
        output: (V, dims) rows that hidden states are scored against.
    """

    def __init__(self, vocabulary: Vocabulary, dims: int, std: float, hidden_norm: float) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.std = std
        self.output_std = LOGIT_STD / hidden_norm
        self.input = nn.Parameter(torch.empty(len(vocabulary), dims))
        self.output = nn.Parameter(torch.empty(len(vocabulary), dims))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.input.normal_(std=self.std)
        if not self.input.is_meta:
            sines = sine_table(self.vocabulary.num_bins, self.input.size(1))
            self.input[self.vocabulary.location_slice] = sines * self.std
        # Input and output start out alike: what attention copies from the instruction scores for its own token.
        self.output.copy_(self.input * (self.output_std / self.std))

    @torch.no_grad()
    def start_from(self, tokens: Sequence[str], inputs: Tensor, outputs: Tensor) -> None:
        """Let some tokens begin as words of the language model.

        Args:
            tokens: n of the added tokens.
            inputs: (n, dims) embeddings of their words.
            outputs: (n, dims) rows of their words in the output layer; what they have in common is left out.
        """
        rows = [self.vocabulary.index(token) for token in tokens]
        self.input[rows] = inputs.to(self.input)
        outputs = outputs.to(self.output)
        if len(rows) > 1:
            outputs = outputs - outputs.mean(0)
        self.output[rows] = outputs * (self.output_std / outputs.std())
